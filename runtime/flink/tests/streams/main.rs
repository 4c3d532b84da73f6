//! What jobs compute, in a local cluster, at several parallelisms.

#[cfg(test)]
mod jobs;

//! What jobs compute, in a local cluster, at several parallelisms.

#[cfg(test)]
mod async_io;
#[cfg(test)]
mod connectors;
#[cfg(test)]
mod jobs;
#[cfg(test)]
mod multiple_inputs;
#[cfg(test)]
mod windows;

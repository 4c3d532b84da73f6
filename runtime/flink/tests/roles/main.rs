//! Job programs in each of their roles, as real processes.

#[cfg(test)]
mod application;
#[cfg(test)]
mod coordinator;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod local;
#[cfg(test)]
mod worker;

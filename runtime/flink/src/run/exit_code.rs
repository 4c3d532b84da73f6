//! Exit codes of a job program that runs its job by itself: the same as `flinkctl`'s.

/// Anything that has no code of its own.
pub(super) const INTERNAL: u8 = 1;
/// Wrong arguments.
pub(super) const USAGE: u8 = 2;
/// The job, or the driver of an application, has failed.
pub(super) const JOB_FAILED: u8 = 5;
/// The job was cancelled, by someone else than who runs the program.
pub(super) const JOB_CANCELED: u8 = 6;
/// The user has interrupted the job.
pub(super) const INTERRUPTED: u8 = 130;
/// Nobody reads the job's output any more: as a program ends that SIGPIPE ends.
pub(super) const OUTPUT_CLOSED: u8 = 141;

//! Where the job's coordinator is in its life.

/// ```text
/// Idle -> Starting -> Ready -> Finishing -> Gone
///            |          |          |         ^
///            '----------+----------'         |
///                       v                    |
///                    Stopping ---------------'
/// ```
/// It can be gone from each state in which it was started; from all but `Finishing` and `Stopping` that is a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coordinator {
    /// The job has none.
    Absent,
    /// To be started with the job.
    Idle,
    /// Being started.
    Starting,
    /// It serves the job's tasks.
    Ready,
    /// All tasks have finished, and it is to end by itself.
    Finishing,
    /// It was told to end.
    Stopping,
    /// Its process is gone.
    Gone,
}

impl Coordinator {
    /// Whether tasks may be deployed.
    pub(super) const fn allows_tasks(self) -> bool {
        matches!(self, Self::Absent | Self::Ready)
    }

    /// Whether the job need not wait for it to end.
    pub(super) const fn is_over(self) -> bool {
        matches!(self, Self::Absent | Self::Idle | Self::Gone)
    }

    /// Whether it was started and is of use.
    pub(super) const fn is_in_use(self) -> bool {
        matches!(self, Self::Starting | Self::Ready | Self::Finishing)
    }
}

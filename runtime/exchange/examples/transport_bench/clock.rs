//! Clocks that two processes of one machine share or compare.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

fn read(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

/// User and system time of this process so far.
pub(crate) fn cpu() -> Duration {
    read(ClockId::ProcessCPUTime)
}

/// Nanoseconds on a clock that all processes of this machine read alike, in all network namespaces.
pub(crate) fn now_nanos() -> u64 {
    read(ClockId::Monotonic).as_nanos() as u64
}

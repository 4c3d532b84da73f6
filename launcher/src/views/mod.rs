//! What people and programs see of jobs, sessions and graphs: the shapes of `-o json` and of the tables.

mod job;
mod plan;
mod session;

pub(crate) use job::{JobDetail, JobRow, accumulator_lines};
pub(crate) use plan::PlanView;
pub(crate) use session::{SessionDetail, SessionRow};

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::output;

/// The point in time that a number of milliseconds since the epoch names.
pub(crate) fn time(ms: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(ms)
}

fn iso(ms: u64) -> String {
    output::timestamp(time(ms))
}

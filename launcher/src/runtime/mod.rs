//! The processes of a cluster as the launcher makes them: the JobManager with its provider of TaskManagers, and the
//! TaskManager. What they decide is in their crates; here they get their files, their channels and their hosts.

mod jobmanager;
mod layout;
mod provider;
mod reach;
mod record;
mod standalone;
mod taskmanager;
pub(crate) mod tmp;

pub(crate) use jobmanager::{JobManagerReady, JobManagerStartup, SessionKind, now_ms};
pub(crate) use layout::Layout;
pub(crate) use reach::{Login, ReachReport, ReachRequest, run_launched as reach};
pub(crate) use record::{CLIENT_IDENTITY, SESSION_RECORD, SessionRecord};

use crate::{
    cli::{GlobalArgs, JobManagerArgs, TaskManagerArgs},
    config::{Inventory, Request},
    error::UserError,
};

/// `flinkctl jobmanager`: as an agent launches it, or standalone.
///
/// # Errors
/// When it cannot serve.
pub(crate) fn jobmanager(global: &GlobalArgs, args: &JobManagerArgs) -> Result<(), UserError> {
    if args.launched {
        return Ok(jobmanager::run_launched()?);
    }
    let inventory = Inventory::load(&Request::from_process(global.cluster_file.clone(), &args.define.define))?;
    standalone::run_jobmanager(&inventory, args)
}

/// `flinkctl taskmanager`: as an agent launches it, or standalone.
///
/// # Errors
/// When it cannot serve, or loses its JobManager.
pub(crate) fn taskmanager(args: &TaskManagerArgs) -> Result<(), UserError> {
    if args.launched {
        return Ok(taskmanager::run_launched()?);
    }
    standalone::run_taskmanager(args)
}

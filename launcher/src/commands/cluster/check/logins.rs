//! The JobManager's logins: tried on its host, by a process that is launched as a JobManager is.

use std::{collections::HashMap, time::Duration};

use super::judge::{Failure, Login};
use crate::{
    agent::{
        AGENT, REACH,
        protocol::{Bytes, LaunchOutcome, LaunchSpec, Program},
    },
    config::Cluster,
    hosts::HostLink,
    runtime::{self, Layout, ReachReport, ReachRequest},
};

/// Longest that all logins together may take; each has its own, shorter limits.
const LIMIT: Duration = Duration::from_secs(300);
/// How long the process may take to end after its report.
const END: Duration = Duration::from_secs(2);

/// Tries the logins from the JobManager's host to `hosts`. `Err`: why none could be tried.
pub(super) async fn logins(
    link: &HostLink,
    cluster: &Cluster,
    hosts: Vec<String>,
) -> Result<HashMap<String, Login>, String> {
    let from = cluster.jobmanager_host();
    let layout = Layout::of(&cluster.name);
    let session = format!("check-{}", uuid::Uuid::now_v7().simple());
    let directory = layout.session(&session);
    let request = ReachRequest {
        cluster: cluster.clone(),
        from: from.name.clone(),
        hosts,
    };
    let spec = LaunchSpec {
        program: Program::Flinkctl,
        args: [AGENT, REACH].map(str::to_owned).to_vec(),
        env: from.env.clone().into_iter().collect(),
        tag: format!("{}/{REACH}", layout.tag(&session)),
        log: format!("{directory}/{REACH}.log"),
        working_dir: None,
        payload: Bytes(postcard::to_stdvec(&request).map_err(|error| error.to_string())?),
        ready_timeout: LIMIT,
    };
    let outcome = link.agent.launch(spec).await.map_err(|error| error.to_string())?;
    let report = match outcome {
        LaunchOutcome::Ready { identity, message } => {
            // It has nothing left to do.
            let _late = link.agent.await_exit(identity, END).await;
            postcard::from_bytes::<ReachReport>(&message.0)
                .map_err(|error| error.to_string())
                .and_then(|report| report.map_err(|fault| fault.message))
        }
        LaunchOutcome::Died { exit, log_tail, .. } => Err(format!("the process ended ({exit}) {}", log_tail.trim())),
        LaunchOutcome::NotReady { log_tail } => Err(format!("not done within {LIMIT:?} {}", log_tail.trim())),
    };
    // What is left is its log, which `cluster clean` finds.
    let _unreachable = link.agent.remove_tree(&directory).await;
    Ok(report?.into_iter().map(login).collect())
}

fn login(login: runtime::Login) -> (String, Login) {
    let result = match login.fault {
        None => Login::Fine,
        Some(fault) => Login::Failed(Failure {
            code: fault.code,
            message: fault.message,
            help: fault.help,
        }),
    };
    (login.host, result)
}

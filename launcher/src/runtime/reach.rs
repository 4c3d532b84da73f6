//! `flinkctl agent reach`: tries, from the JobManager's host, the logins that a JobManager there would need.
//!
//! The process is launched as a JobManager is (the same environment, detached, without the agent's variables) and connects as
//! its provider of TaskManagers does, so that what works here works there: the same keys, ssh configuration and host keys, and
//! flinkctl itself runs on the other side.

use anyhow::Context;
use flink_rpc::messages::{Fault, HostFault};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::{config::Cluster, hosts::Hosts, process::Startup};

/// Longest message about one host, in bytes; those of all hosts together have to fit into the report.
const MAX_MESSAGE: usize = 2 << 10;
/// Longest that all messages together may be, in bytes.
const MAX_MESSAGES: usize = 512 << 10;

/// Which logins to try; travels over the launch channel.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ReachRequest {
    /// The inventory.
    pub(crate) cluster: Cluster,
    /// The JobManager's host, where this runs.
    pub(crate) from: String,
    /// The hosts to log in to.
    pub(crate) hosts: Vec<String>,
}

/// What came of one login.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Login {
    /// The host.
    pub(crate) host: String,
    /// Why it failed.
    pub(crate) fault: Option<HostFault>,
}

/// What came of all of them, or why none could be tried.
pub(crate) type ReachReport = Result<Vec<Login>, Fault>;

/// Does what the launch channel on standard input says and reports it there.
pub(crate) fn run_launched() -> anyhow::Result<()> {
    let (channel, payload) = Startup::receive()?;
    let request: ReachRequest = postcard::from_bytes(&payload).context("decode the start-up message")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(reach(request));
    channel.ready(&postcard::to_stdvec(&report)?)?;
    Ok(())
}

async fn reach(request: ReachRequest) -> ReachReport {
    let ReachRequest { cluster, from, hosts } = request;
    let reach = Hosts::on_jobmanager(&cluster, &from)
        .await
        .map_err(|error| Fault::new("jobmanager.binary", error.to_string()))?;
    let longest = MAX_MESSAGE.min(MAX_MESSAGES / hosts.len().max(1));
    let mut tasks = JoinSet::new();
    for name in hosts {
        let Some(host) = cluster.host(&name).cloned() else {
            continue;
        };
        let reach = reach.clone();
        tasks.spawn(async move {
            let fault = match reach.connect(&host, |_, _| ()).await {
                Ok(link) => {
                    link.hang_up().await;
                    None
                }
                Err(error) => Some(shortened(error.into_fault(&name), longest)),
            };
            Login { host: name, fault }
        });
    }
    Ok(tasks.join_all().await)
}

fn shortened(mut fault: HostFault, longest: usize) -> HostFault {
    let end = fault.message.floor_char_boundary(longest);
    fault.message.truncate(end);
    fault
}

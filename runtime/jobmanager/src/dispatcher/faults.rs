//! What the Dispatcher refuses, and what it tells jobs that fail for want of resources, in people's words.

use std::{collections::BTreeMap, time::Duration};

use flink_graph::{JobGraph, JobId, TaskFailure, TaskFailureKind};
use flink_rpc::messages::{Fault, HostFault};

use super::event::ConnectionEnd;
use crate::resource_manager::Shortage;

pub(super) fn job_not_found(job: JobId) -> Fault {
    Fault::new("job.not-found", format!("there is no job {job} in this cluster")).with_help("flinkctl job list -a")
}

pub(super) fn stopping() -> Fault {
    Fault::new("cluster.stopping", "the cluster is being stopped")
}

pub(super) fn one_job_only() -> Fault {
    Fault::new("cluster.per-job", "this cluster runs one job only, and has had it")
        .with_help("flinkctl session start, then flinkctl job run --session NAME")
}

pub(super) fn output_not_kept(job: JobId) -> Fault {
    Fault::new(
        "job.output-not-kept",
        format!("job {job} is attached: what it prints goes to its client"),
    )
}

pub(super) fn not_held() -> Fault {
    Fault::new(
        "cluster.detached",
        "this cluster does not depend on a client: it cannot be held",
    )
}

pub(super) fn already_held() -> Fault {
    Fault::new("cluster.already-held", "another client holds this cluster")
}

pub(super) fn left_behind(hosts: Vec<HostFault>) -> Fault {
    let message = format!(
        "{} could not be verified to be gone",
        count(hosts.len() as u32, "TaskManager")
    );
    let fault = Fault::new("cluster.left-behind", message).with_help("flinkctl cluster clean --orphans");
    Fault { hosts, ..fault }
}

/// The code of the fault when a cluster is too small, or too slow.
const SLOTS_INSUFFICIENT: &str = "slots.insufficient";

/// Jobs that are named as users of slots; of the rest only the number is told.
const NAMED_USERS: usize = 5;

/// A job does not get its slots. `excluded` are the hosts that are not used because they failed, with their slots.
pub(super) fn slots_insufficient(
    graph: &JobGraph,
    shortage: &Shortage,
    names: &BTreeMap<JobId, String>,
    excluded: Vec<(u32, HostFault)>,
) -> Fault {
    let Shortage { required, offer, .. } = shortage;
    let needs = format!("job \"{}\" needs {}", graph.name, count(*required, "slot"));
    let notes = slots_in_numbers(graph, shortage, names);
    let lost_slots: u32 = excluded.iter().map(|(slots, _)| slots).sum();
    let hosts: Vec<_> = excluded.into_iter().map(|(_, fault)| fault).collect();
    // When the failed hosts would have been enough, they are what is wrong; otherwise the cluster is too small.
    let (code, message, help) = match hosts.first() {
        Some(first) if *required <= offer + lost_slots => {
            let failed = count(hosts.len() as u32, "host");
            let help = first.help.clone();
            (
                first.code.clone(),
                format!("{needs}, the cluster can offer {offer}: {failed} failed"),
                help.unwrap_or_else(|| "flinkctl cluster check".to_owned()),
            )
        }
        _ if required > offer => (
            SLOTS_INSUFFICIENT.to_owned(),
            format!("{needs}, the cluster can offer {offer}"),
            help_for_slots(graph, shortage),
        ),
        _ => (
            SLOTS_INSUFFICIENT.to_owned(),
            format!("{needs}, and did not get them in time"),
            "wait longer: --slot-timeout; whether all hosts can be reached: flinkctl cluster check".to_owned(),
        ),
    };
    Fault {
        code,
        message,
        help: Some(help),
        notes,
        hosts,
    }
}

/// What slots there are, who has them, and what needs so many.
fn slots_in_numbers(graph: &JobGraph, shortage: &Shortage, names: &BTreeMap<JobId, String>) -> Vec<String> {
    let mut slots = vec![format!(
        "{} with {}",
        count(shortage.task_managers, "TaskManager"),
        count(shortage.slots, "slot")
    )];
    let mut users = shortage.used_by_others.clone();
    users.sort_by_key(|(_, used)| std::cmp::Reverse(*used));
    let others = users.split_off(users.len().min(NAMED_USERS));
    for (job, used) in users {
        let other = names
            .get(&job)
            .map_or_else(|| job.to_string(), |name| format!("\"{name}\""));
        slots.push(format!("{used} used by job {other}"));
    }
    if !others.is_empty() {
        let used: u32 = others.iter().map(|(_, used)| used).sum();
        slots.push(format!("{used} used by {}", count(others.len() as u32, "other job")));
    }
    if !shortage.standalone {
        slots.push(format!("{} can still be started", count(shortage.startable, "host")));
    }
    let mut notes = vec![slots.join(" | ")];
    if let Some(vertex) = graph.largest_vertex() {
        notes.push(format!(
            "largest vertex: `{}` with parallelism {}",
            vertex.name, vertex.parallelism
        ));
    }
    if shortage.waited.as_secs() > 0 {
        notes.push(format!("waited {}", seconds(shortage.waited)));
    }
    notes
}

fn help_for_slots(graph: &JobGraph, shortage: &Shortage) -> String {
    let Shortage { required, offer, .. } = shortage;
    let more = if shortage.standalone {
        "start more TaskManagers: flinkctl taskmanager --join FILE --slots N"
    } else {
        "add hosts or slots to cluster.toml, or raise [taskmanager] max"
    };
    // With one slot sharing group the parallelism is the number of slots.
    let is_parallelism = graph
        .largest_vertex()
        .is_some_and(|vertex| vertex.parallelism == *required);
    if is_parallelism && *offer > 0 {
        format!("-p {offer}, or {more}")
    } else {
        more.to_owned()
    }
}

/// What the end of a TaskManager's connection means: for its host, and for the jobs that had tasks there.
pub(super) fn task_manager_lost(
    host: &str,
    end: &ConnectionEnd,
    announced: Option<&str>,
    heartbeat_timeout: Duration,
) -> (HostFault, TaskFailure) {
    let ended = |reason: &str| ("taskmanager.ended", format!("the TaskManager ended: {reason}"));
    let lost = |reason: &str| ("taskmanager.lost", format!("the TaskManager is lost: {reason}"));
    let (code, message) = match (announced, end) {
        (Some(reason), _) => ended(reason),
        (None, ConnectionEnd::Closed { reason }) if reason.is_empty() => ended("it did not say why"),
        (None, ConnectionEnd::Closed { reason }) => ended(reason),
        (None, ConnectionEnd::Silent) => lost(&format!("no sign of life for {}", seconds(heartbeat_timeout))),
        (None, ConnectionEnd::Broken { reason }) => lost(reason),
    };
    let fault = HostFault {
        host: host.to_owned(),
        code: code.to_owned(),
        message: message.clone(),
        help: None,
    };
    (fault, TaskFailure::new(TaskFailureKind::TaskManagerLost, message))
}

/// `1 slot`, `2 slots`.
fn count(number: u32, noun: &str) -> String {
    if number == 1 {
        format!("1 {noun}")
    } else {
        format!("{number} {noun}s")
    }
}

/// `3s`, `0.5s`.
fn seconds(duration: Duration) -> String {
    format!("{}s", duration.as_millis() as f64 / 1000.0)
}

#[cfg(test)]
mod tests;

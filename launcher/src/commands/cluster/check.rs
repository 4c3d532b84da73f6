//! `flinkctl cluster check`: are the hosts fit? What is judged is in [`judge`], pure; here the hosts are asked.

mod judge;
mod logins;
mod network;
mod pairs;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde::Serialize;
use tokio::{task::JoinSet, time::timeout};

use self::{
    judge::{Facts, Failure, Finding, Login, Verdict, judge},
    network::Linked,
};
use crate::{
    agent::protocol::ProbeRequest,
    cli::CheckArgs,
    commands::Context,
    config::{Cluster, Host},
    error::UserError,
    exit_code::ExitCode,
    hosts::{HostLink, Hosts},
    output::{Column, Item},
    progress::{Phase, Progress},
};

/// How long a host may take to tell its facts; what it looks at are files.
const PROBE_LIMIT: Duration = Duration::from_secs(15);

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CheckRow {
    host: String,
    check: &'static str,
    verdict: Verdict,
    message: String,
    help: Option<String>,
}

impl Item for CheckRow {
    const KIND: &'static str = "Check";
    const PLURAL: &'static str = "findings";
    const CREATE: &'static str = "name other hosts with -H";
    const COLUMNS: &'static [Column] = &[
        Column::new("host"),
        Column::new("check"),
        Column::new("verdict"),
        Column::new("message"),
    ];

    fn cells(&self, _now: SystemTime) -> Vec<String> {
        let help = self.help.as_ref().map_or_else(String::new, |help| format!("; {help}"));
        vec![
            self.host.clone(),
            self.check.to_owned(),
            self.verdict.to_string(),
            format!("{}{help}", self.message),
        ]
    }

    fn name(&self) -> String {
        format!("{}/{}", self.host, self.check)
    }
}

pub(super) async fn check(context: &Context, args: &CheckArgs) -> Result<ExitCode, UserError> {
    let inventory = context.inventory(&[])?;
    let cluster = &inventory.cluster;
    let selected: Vec<Host> = cluster
        .select(&args.hosts.hosts, &args.hosts.exclude)?
        .into_iter()
        .cloned()
        .collect();
    let asked = ask(context, cluster, &selected).await?;
    let findings = judge(&asked, cluster);
    let rows: Vec<CheckRow> = findings
        .into_iter()
        .filter(|(host, _)| selected.iter().any(|selected| selected.name == *host))
        .map(row)
        .collect();
    let failed = rows.iter().any(|row| row.verdict == Verdict::Fail);
    context.output.list(&rows)?;
    Ok(if failed { ExitCode::Partial } else { ExitCode::Ok })
}

fn row((host, finding): (String, Finding)) -> CheckRow {
    let Finding {
        check,
        verdict,
        message,
        help,
    } = finding;
    CheckRow {
        host,
        check,
        verdict,
        message,
        help,
    }
}

/// What is known of one host alone.
struct Asked {
    host: Host,
    facts: Result<(Facts, HostLink), Failure>,
}

/// Asks the selected hosts, and the JobManager's in any case: what they can do together depends on it.
async fn ask(context: &Context, cluster: &Cluster, selected: &[Host]) -> Result<Vec<judge::Host>, UserError> {
    let mut hosts = selected.to_vec();
    let jobmanager = cluster.jobmanager_host();
    if hosts.iter().all(|host| host.name != jobmanager.name) {
        hosts.push(jobmanager.clone());
    }
    let progress = context.progress();
    let asked = connect(cluster, &hosts, &progress).await?;
    let mut linked = Vec::new();
    let mut judged = Vec::new();
    for Asked { host, facts } in asked {
        let facts = facts.map(|(facts, link)| {
            let link = Arc::new(link);
            linked.push(Linked {
                host: host.clone(),
                link,
            });
            facts
        });
        judged.push(judge::Host {
            name: host.name,
            facts,
            udp: None,
            login: Login::NotNeeded,
        });
    }
    let needed = logins_needed(cluster, selected);
    progress.begin(Phase::Checking, linked.len() + usize::from(!needed.is_empty()));
    let (mut udp, mut logins) = tokio::join!(
        network::udp(cluster, &linked, &progress),
        logins(cluster, needed, &linked, &progress)
    );
    progress.end(Phase::Checking);
    for host in &mut judged {
        host.udp = udp.remove(&host.name);
        host.login = logins.remove(&host.name).unwrap_or(Login::NotNeeded);
    }
    hang_up(linked).await;
    Ok(judged)
}

/// Connects to all hosts side by side and collects their facts.
async fn connect(cluster: &Cluster, hosts: &[Host], progress: &Progress) -> Result<Vec<Asked>, UserError> {
    let reach = Hosts::from_here(cluster).map_err(anyhow::Error::new)?;
    progress.begin(Phase::Connecting, hosts.len());
    let mut tasks = JoinSet::new();
    for (index, host) in hosts.iter().cloned().enumerate() {
        let (reach, progress) = (reach.clone(), progress.clone());
        let tag_prefix = format!("{}/", cluster.name);
        tasks.spawn(async move {
            progress.step(Phase::Connecting, &host.name, "authenticating");
            let facts = facts(&reach, &host, tag_prefix).await;
            match &facts {
                Ok(_) => progress.done(Phase::Connecting, &host.name),
                Err(failure) => progress.failed(Phase::Connecting, &host.name, &failure.message),
            }
            (index, Asked { host, facts })
        });
    }
    let mut asked = tasks.join_all().await;
    progress.end(Phase::Connecting);
    asked.sort_by_key(|(index, _)| *index);
    Ok(asked.into_iter().map(|(_, asked)| asked).collect())
}

async fn facts(reach: &Hosts, host: &Host, tag_prefix: String) -> Result<(Facts, HostLink), Failure> {
    let link = reach.connect(host, |_, _| ()).await.map_err(|error| Failure {
        code: error.code().to_owned(),
        message: error.text(),
        help: error.help(),
    })?;
    let request = ProbeRequest {
        directories: vec![host.tmp_dir.clone()],
        tag_prefix,
    };
    let sent = (Instant::now(), SystemTime::now());
    let facts = timeout(PROBE_LIMIT, link.agent.probe(request)).await;
    // The host read its clock about half way between the question and the answer.
    let middle = sent.1 + sent.0.elapsed() / 2;
    let middle = middle.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis());
    let failure = match facts {
        Ok(Ok(host)) => {
            let facts = Facts {
                offset_ms: i128::from(host.clock_ms) - i128::try_from(middle).unwrap_or(0),
                noise: link.agent.noise().map(str::to_owned),
                host,
            };
            return Ok((facts, link));
        }
        Ok(Err(error)) => Failure {
            code: error.code().to_owned(),
            message: error.to_string(),
            help: None,
        },
        Err(_elapsed) => Failure {
            code: "host.silent".to_owned(),
            message: format!("reached, but it has not looked at its directories within {PROBE_LIMIT:?}"),
            help: Some("a file system that does not answer (NFS)? df shows by hanging".to_owned()),
        },
    };
    link.hang_up().await;
    Err(failure)
}

/// The hosts that the JobManager logs in to.
fn logins_needed(cluster: &Cluster, selected: &[Host]) -> Vec<String> {
    let jobmanager = &cluster.jobmanager_host().name;
    let needed = selected
        .iter()
        .filter(|host| host.roles.taskmanager && host.name != *jobmanager);
    needed.map(|host| host.name.clone()).collect()
}

/// Whether the JobManager can log in to these hosts.
async fn logins(
    cluster: &Cluster,
    needed: Vec<String>,
    linked: &[Linked],
    progress: &Progress,
) -> HashMap<String, Login> {
    if needed.is_empty() {
        return HashMap::new();
    }
    let jobmanager = &cluster.jobmanager_host().name;
    let item = format!("logins from {jobmanager}");
    progress.step(Phase::Checking, &item, "SSH");
    let tried = match linked.iter().find(|linked| linked.host.name == *jobmanager) {
        Some(linked) => logins::logins(&linked.link, cluster, needed.clone()).await,
        None => Err(format!("{jobmanager}, the JobManager's host, cannot be reached")),
    };
    match tried {
        Ok(logins) => {
            progress.done(Phase::Checking, &item);
            logins
        }
        Err(reason) => {
            progress.failed(Phase::Checking, &item, &reason);
            let not_tried = |host| (host, Login::NotTried(reason.clone()));
            needed.into_iter().map(not_tried).collect()
        }
    }
}

async fn hang_up(linked: Vec<Linked>) {
    let mut tasks = JoinSet::new();
    for link in linked.into_iter().filter_map(|linked| Arc::into_inner(linked.link)) {
        tasks.spawn(link.hang_up());
    }
    tasks.join_all().await;
}

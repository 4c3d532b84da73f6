//! `flinkctl cluster check`: are the hosts fit? What is judged is in [`judge`], pure; here the hosts are asked.

mod judge;

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use tokio::task::JoinSet;

use self::judge::{Finding, Host as Judged, Verdict, judge};
use crate::{
    agent::protocol::ProbeRequest,
    cli::CheckArgs,
    commands::Context,
    config::{Cluster, Host},
    error::UserError,
    exit_code::ExitCode,
    hosts::Hosts,
    output::{Column, Item},
    progress::Phase,
};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CheckRow {
    host: String,
    check: &'static str,
    verdict: Verdict,
    message: String,
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
        vec![
            self.host.clone(),
            self.check.to_owned(),
            self.verdict.to_string(),
            self.message.clone(),
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
    let findings = judge(&asked, cluster.taskmanager.mtu.bytes());
    let failed = findings.iter().any(|(_, finding)| finding.verdict == Verdict::Fail);
    let rows: Vec<CheckRow> = findings
        .into_iter()
        .map(
            |(
                host,
                Finding {
                    check,
                    verdict,
                    message,
                },
            )| CheckRow {
                host,
                check,
                verdict,
                message,
            },
        )
        .collect();
    context.output.list(&rows)?;
    Ok(if failed { ExitCode::Partial } else { ExitCode::Ok })
}

async fn ask(context: &Context, cluster: &Cluster, selected: &[Host]) -> Result<Vec<Judged>, UserError> {
    let hosts = Hosts::from_here(cluster).map_err(anyhow::Error::new)?;
    let progress = context.progress();
    progress.begin(Phase::Connecting, selected.len());
    let mut tasks = JoinSet::new();
    for host in selected {
        let (hosts, host, progress, tag) = (
            hosts.clone(),
            host.clone(),
            progress.clone(),
            format!("{}/", cluster.name),
        );
        tasks.spawn(async move {
            progress.step(Phase::Connecting, &host.name, "authenticating");
            let facts = facts(&hosts, &host, tag).await;
            match &facts {
                Ok(_) => progress.done(Phase::Connecting, &host.name),
                Err(reason) => progress.failed(Phase::Connecting, &host.name, reason),
            }
            Judged { name: host.name, facts }
        });
    }
    let mut asked = tasks.join_all().await;
    progress.end(Phase::Connecting);
    asked.sort_by_key(|judged| selected.iter().position(|host| host.name == judged.name));
    Ok(asked)
}

async fn facts(hosts: &Hosts, host: &Host, tag_prefix: String) -> Result<judge::Facts, String> {
    let link = hosts.connect(host, |_, _| ()).await.map_err(|error| error.text())?;
    let request = ProbeRequest {
        directories: vec![host.tmp_dir.clone()],
        tag_prefix,
    };
    let sent = (Instant::now(), SystemTime::now());
    let facts = link.agent.probe(request).await.map_err(|error| error.to_string());
    // The host read its clock about half way between the question and the answer.
    let middle = sent.1 + sent.0.elapsed() / 2;
    link.hang_up().await;
    let middle = middle.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis());
    facts.map(|host| judge::Facts {
        offset_ms: i128::from(host.clock_ms) - i128::try_from(middle).unwrap_or(0),
        host,
    })
}

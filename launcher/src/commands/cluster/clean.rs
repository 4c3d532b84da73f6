//! `flinkctl cluster clean`: ends and removes what no running session or job needs.

use std::io::{IsTerminal, Write};
use std::time::SystemTime;

use serde::Serialize;

use crate::{
    cli::CleanArgs,
    commands::Context,
    config::{Cluster, Host},
    control::{Control, call_error},
    error::{HostFailure, UserError},
    exit_code::ExitCode,
    hosts::Hosts,
    output::{Column, Item},
    sweep::{Doomed, Found, Sweep},
};

/// Something left over.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct LeftoverRow {
    host: String,
    kind: &'static str,
    what: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
}

impl Item for LeftoverRow {
    const KIND: &'static str = "Leftover";
    const PLURAL: &'static str = "leftovers";
    const CREATE: &'static str = "nothing to clean";
    const COLUMNS: &'static [Column] = &[
        Column::new("host"),
        Column::new("kind"),
        Column::new("pid").right(),
        Column::new("what"),
    ];

    fn cells(&self, _now: SystemTime) -> Vec<String> {
        let pid = self.pid.map_or_else(String::new, |pid| pid.to_string());
        vec![self.host.clone(), self.kind.to_owned(), pid, self.what.clone()]
    }

    fn name(&self) -> String {
        format!("{}:{}", self.host, self.what)
    }
}

pub(super) async fn clean(context: &Context, args: &CleanArgs) -> Result<ExitCode, UserError> {
    let inventory = context.inventory(&[])?;
    let cluster = &inventory.cluster;
    let selected: Vec<Host> = cluster
        .select(&args.hosts.hosts, &args.hosts.exclude)?
        .into_iter()
        .cloned()
        .collect();
    let doomed = if args.all {
        Doomed::Everything
    } else {
        Doomed::AllBut(live_sessions(cluster).await?)
    };
    let hosts = Hosts::from_here(cluster).map_err(anyhow::Error::new)?;
    let sweep = Sweep::new(cluster, doomed).processes_only(args.orphans);
    let (found, unreached) = sweep.run(&selected, &hosts, false).await;
    let rows = rows(&found);
    if rows.is_empty() {
        context.progress().note("Nothing to clean");
        return verdict(unreached, &rows, context);
    }
    if !args.yes {
        confirm(context, &rows).await?;
    }
    let sweep = if args.all {
        sweep
    } else {
        still_doomed(cluster, &found).await?.processes_only(args.orphans)
    };
    let (found, failures) = sweep.run(&selected, &hosts, true).await;
    verdict(failures, &self::rows(&found), context)
}

/// A sweep of the sessions that were found dead and still are: one that was started meanwhile is not among them.
async fn still_doomed(cluster: &Cluster, found: &[Found]) -> Result<Sweep, UserError> {
    let live = live_sessions(cluster).await?;
    let mut sessions: Vec<String> = found.iter().flat_map(Found::sessions).map(str::to_owned).collect();
    sessions.retain(|session| !live.contains(session));
    Ok(Sweep::new(cluster, Doomed::Sessions(sessions)))
}

/// A session counts as live when its JobManager answers, or its process is there: it may be about to answer. When the
/// JobManager's host cannot be asked, nothing may be judged dead.
async fn live_sessions(cluster: &Cluster) -> Result<Vec<String>, UserError> {
    let control = Control::connect(cluster, |_, _| ()).await.map_err(|error| {
        error.note("which sessions are alive is known there alone; to clean without knowing: --all")
    })?;
    let mut live = Vec::new();
    for session in control.sessions().await? {
        if control.status(&session.name).await.is_some() {
            live.push(session.name);
        }
    }
    let tag = format!("{}/", cluster.name);
    let processes = control.link.agent.list_tagged(&tag).await.map_err(call_error)?;
    live.extend(processes.iter().filter_map(|process| {
        let (session, role) = process.identity.tag.as_deref()?.strip_prefix(&tag)?.split_once('/')?;
        (role == "jobmanager").then(|| session.to_owned())
    }));
    control.link.hang_up().await;
    Ok(live)
}

fn rows(found: &[Found]) -> Vec<LeftoverRow> {
    let mut rows = Vec::new();
    for one in found {
        rows.extend(one.processes.iter().map(|process| LeftoverRow {
            host: one.host.clone(),
            kind: "process",
            what: process.identity.tag.clone().unwrap_or_default(),
            pid: Some(process.identity.pid),
        }));
        rows.extend(one.directories.iter().map(|directory| LeftoverRow {
            host: one.host.clone(),
            kind: "directory",
            what: directory.clone(),
            pid: None,
        }));
        rows.extend(one.temporary.iter().map(|directory| LeftoverRow {
            host: one.host.clone(),
            kind: "directory",
            what: format!("{}/{}", directory.tmp, directory.name),
            pid: None,
        }));
    }
    rows
}

async fn confirm(context: &Context, rows: &[LeftoverRow]) -> Result<(), UserError> {
    let refuse = |what: &str| UserError::new("clean.unconfirmed", ExitCode::Usage, what.to_owned());
    let table = crate::output::render_list(rows, crate::cli::OutputFormat::Table, SystemTime::now())?;
    if !std::io::stdin().is_terminal() {
        return Err(refuse("this would end or remove what follows")
            .detail(table.trim_end())
            .help("add --yes to go ahead"));
    }
    let progress = context.progress();
    // Without a standard error there is no question, and then no "yes" either.
    progress.suspend(|| drop(write!(std::io::stderr(), "{table}End and remove these? [y/N] ")));
    // Ctrl-C must be heard while the answer is waited for.
    let asking = tokio::task::spawn_blocking(|| {
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer).map(|_| answer)
    });
    match asking.await {
        Ok(Ok(answer)) if matches!(answer.trim(), "y" | "Y" | "yes") => Ok(()),
        _ => Err(refuse("nothing was removed")),
    }
}

fn verdict(failures: Vec<HostFailure>, rows: &[LeftoverRow], context: &Context) -> Result<ExitCode, UserError> {
    if !rows.is_empty() || context.output.is_json() {
        context.output.list(rows)?;
    }
    if failures.is_empty() {
        return Ok(ExitCode::Ok);
    }
    Err(UserError::new("clean.partial", ExitCode::Partial, "some hosts could not be cleaned").hosts(failures))
}

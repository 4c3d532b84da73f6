//! `flinkctl cluster exec`: a command on hosts.

use std::ffi::OsString;
use std::io::Write;

use serde_json::json;
use tokio::task::JoinSet;

use crate::{
    agent::{
        CallError, CommandEvent,
        protocol::{Exit, Output},
    },
    cli::ExecArgs,
    commands::Context,
    config::Host,
    control::call_failure,
    error::{HostFailure, UserError},
    exit_code::ExitCode,
    hosts::Hosts,
};

/// Exit code of a command that was ended by signal n, as shells have it: this plus n.
const SIGNAL_BASE: i32 = 128;

pub(super) async fn exec(context: &Context, args: &ExecArgs) -> Result<ExitCode, UserError> {
    let inventory = context.inventory(&[])?;
    let cluster = &inventory.cluster;
    let selected: Vec<Host> = cluster
        .select(&args.hosts.hosts, &args.hosts.exclude)?
        .into_iter()
        .cloned()
        .collect();
    let reach = Hosts::from_here(cluster).map_err(anyhow::Error::new)?;
    let words = words(&args.command)?;
    let prefix = selected.len() > 1;
    let mut tasks = JoinSet::new();
    for host in selected {
        let (reach, words) = (reach.clone(), words.clone());
        tasks.spawn(async move {
            let result = on_host(&reach, &host, words, prefix).await;
            (host.name, result)
        });
    }
    let (mut codes, mut failures) = (Vec::new(), Vec::new());
    for (host, result) in tasks.join_all().await {
        match result {
            Ok(code) => codes.push((host, code)),
            Err(failure) => failures.push(failure),
        }
    }
    codes.sort();
    failures.sort_by(|a: &HostFailure, b| a.host.cmp(&b.host));
    if context.output.is_json() {
        let items: Vec<_> = codes
            .iter()
            .map(|(host, code)| json!({ "host": host, "exitCode": code }))
            .collect();
        context.output.document("ExecResult", &json!({ "items": items }))?;
    }
    if !failures.is_empty() {
        return Err(UserError::new(
            "exec.failed",
            ExitCode::Exec,
            "the command could not be run on every host",
        )
        .hosts(failures));
    }
    let highest = codes.iter().map(|(_, code)| *code).max().unwrap_or(0);
    Ok(ExitCode::Remote(u8::try_from(highest).unwrap_or(u8::MAX)))
}

/// The command as it travels: as text.
fn words(command: &[OsString]) -> Result<Vec<String>, UserError> {
    let word = |word: &OsString| {
        word.to_str().map(str::to_owned).ok_or_else(|| {
            UserError::new("usage", ExitCode::Usage, "the command for the hosts is not UTF-8")
                .detail(format!("{word:?}"))
                .help("have a shell there make the other bytes: -- sh -c 'cat /data/caf$(printf \"\\351\")'")
        })
    };
    command.iter().map(word).collect()
}

async fn on_host(reach: &Hosts, host: &Host, words: Vec<String>, prefix: bool) -> Result<i32, HostFailure> {
    let link = reach
        .connect(host, |_, _| ())
        .await
        .map_err(|error| error.into_failure(&host.name))?;
    let mut lines = Lines::new(prefix.then(|| host.name.clone()));
    let exit = async {
        let mut running = link.agent.exec(words).await?;
        loop {
            match running.next().await? {
                CommandEvent::Output(stream, bytes) => lines.print(stream, bytes).await,
                CommandEvent::Exited(exit) => return Ok(exit),
            }
        }
    }
    .await;
    link.hang_up().await;
    lines.finish().await;
    match exit.map_err(|error: CallError| call_failure(&host.name, &error))? {
        Exit::Code(code) => Ok(code),
        Exit::Signal(signal) => Ok(SIGNAL_BASE + signal),
    }
}

/// Output of one host: as it comes, or with the host's name before each line.
struct Lines {
    prefix: Option<String>,
    partial: [Vec<u8>; 2],
}

impl Lines {
    fn new(prefix: Option<String>) -> Self {
        Self {
            prefix,
            partial: [Vec::new(), Vec::new()],
        }
    }

    async fn print(&mut self, stream: Output, bytes: Vec<u8>) {
        let Some(prefix) = &self.prefix else {
            return write(stream, bytes).await;
        };
        let partial = &mut self.partial[usize::from(stream == Output::Stderr)];
        partial.extend(bytes);
        let mut lines = Vec::new();
        while let Some(end) = partial.iter().position(|byte| *byte == b'\n') {
            lines.extend_from_slice(format!("{prefix}: ").as_bytes());
            lines.extend(partial.drain(..=end));
        }
        if !lines.is_empty() {
            write(stream, lines).await;
        }
    }

    async fn finish(&mut self) {
        for stream in [Output::Stdout, Output::Stderr] {
            if !self.partial[usize::from(stream == Output::Stderr)].is_empty() {
                self.print(stream, b"\n".to_vec()).await;
            }
        }
    }
}

/// A reader that is gone is no error: the command's exit code is what counts. One that takes its time holds up the
/// command on its host, and nothing here: Ctrl-C is heard.
async fn write(stream: Output, bytes: Vec<u8>) {
    let writing = tokio::task::spawn_blocking(move || match stream {
        Output::Stdout => {
            let mut stdout = std::io::stdout().lock();
            stdout.write_all(&bytes).and_then(|()| stdout.flush())
        }
        Output::Stderr => std::io::stderr().lock().write_all(&bytes),
    });
    let _gone = writing.await;
}

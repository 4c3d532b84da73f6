//! `flinkctl cluster exec`: a command on hosts.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::json;
use tokio::task::JoinSet;

use crate::{
    agent::{
        CallError,
        protocol::{ExecSpec, Exit, Output},
    },
    cli::ExecArgs,
    commands::Context,
    config::Host,
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
    let words: Vec<String> = args
        .command
        .iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
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

async fn on_host(reach: &Hosts, host: &Host, words: Vec<String>, prefix: bool) -> Result<i32, HostFailure> {
    let link = reach
        .connect(host, |_, _| ())
        .await
        .map_err(|error| error.into_failure(&host.name))?;
    let lines = Arc::new(Mutex::new(Lines::new(prefix.then(|| host.name.clone()))));
    let exit = {
        let lines = lines.clone();
        link.agent
            .exec(ExecSpec::Argv(words), move |stream, bytes| {
                lines
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .print(stream, bytes);
            })
            .await
    };
    link.hang_up().await;
    lines.lock().unwrap_or_else(PoisonError::into_inner).finish();
    let failed = |error: CallError| HostFailure {
        host: host.name.clone(),
        message: error.to_string(),
        hint: None,
    };
    match exit.map_err(failed)? {
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

    fn print(&mut self, stream: Output, bytes: &[u8]) {
        let Some(prefix) = &self.prefix else {
            return write(stream, bytes);
        };
        let partial = &mut self.partial[usize::from(stream == Output::Stderr)];
        partial.extend_from_slice(bytes);
        while let Some(end) = partial.iter().position(|byte| *byte == b'\n') {
            let mut line = format!("{prefix}: ").into_bytes();
            line.extend(partial.drain(..=end));
            write(stream, &line);
        }
    }

    fn finish(&mut self) {
        for stream in [Output::Stdout, Output::Stderr] {
            if !self.partial[usize::from(stream == Output::Stderr)].is_empty() {
                self.print(stream, b"\n");
            }
        }
    }
}

/// A reader that is gone is no error: the command's exit code is what counts.
fn write(stream: Output, bytes: &[u8]) {
    let _gone = match stream {
        Output::Stdout => std::io::stdout().lock().write_all(bytes),
        Output::Stderr => std::io::stderr().lock().write_all(bytes),
    };
}

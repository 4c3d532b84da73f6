//! `flinkctl cluster exec`: a command on hosts.

use std::ffi::OsString;
use std::io::Write;

use serde_json::{Value, json};
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

/// What of one output of one host a JSON document holds, bytes.
const COLLECTED: usize = 1 << 20;

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
    let (prefix, collects) = (selected.len() > 1, context.output.is_json());
    let mut tasks = JoinSet::new();
    for host in selected {
        let (reach, words) = (reach.clone(), words.clone());
        tasks.spawn(async move {
            let mut lines = match collects {
                true => Lines::Collected(Default::default()),
                false => Lines::printed(prefix.then(|| host.name.clone())),
            };
            let result = on_host(&reach, &host, words, &mut lines).await;
            (host.name, result, lines)
        });
    }
    let (mut codes, mut failures) = (Vec::new(), Vec::new());
    for (host, result, lines) in tasks.join_all().await {
        match result {
            Ok(code) => codes.push((host, code, lines)),
            Err(failure) => failures.push(failure),
        }
    }
    codes.sort_by(|(a, ..), (b, ..)| a.cmp(b));
    failures.sort_by(|a: &HostFailure, b| a.host.cmp(&b.host));
    if collects {
        let items: Vec<_> = codes
            .iter()
            .map(|(host, code, lines)| item(host, *code, lines))
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
    let highest = codes.iter().map(|(_, code, _)| *code).max().unwrap_or(0);
    Ok(ExitCode::Remote(u8::try_from(highest).unwrap_or(u8::MAX)))
}

/// One host's result, with what its command printed.
fn item(host: &str, code: i32, lines: &Lines) -> Value {
    let mut item = json!({ "host": host, "exitCode": code });
    if let Lines::Collected(outputs) = lines {
        let [stdout, stderr] = outputs.each_ref().map(|output| output.text());
        item["stdout"] = stdout.into();
        item["stderr"] = stderr.into();
        item["truncated"] = outputs.iter().any(|output| output.truncated).into();
    }
    item
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

async fn on_host(reach: &Hosts, host: &Host, words: Vec<String>, lines: &mut Lines) -> Result<i32, HostFailure> {
    let link = reach
        .connect(host, |_, _| ())
        .await
        .map_err(|error| error.into_failure(&host.name))?;
    let exit = async {
        let mut running = link.agent.exec(words).await?;
        loop {
            match running.next().await? {
                CommandEvent::Output(stream, bytes) => lines.take(stream, bytes).await,
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

/// Output of one host.
enum Lines {
    /// Printed as it comes, or with the host's name before each line.
    Printed {
        prefix: Option<String>,
        partial: [Vec<u8>; 2],
    },
    /// Kept for the answer, which is one document.
    Collected([Collected; 2]),
}

#[derive(Default)]
struct Collected {
    bytes: Vec<u8>,
    truncated: bool,
}

impl Collected {
    fn push(&mut self, bytes: &[u8]) {
        let room = COLLECTED.saturating_sub(self.bytes.len());
        self.truncated |= bytes.len() > room;
        self.bytes.extend(bytes.iter().take(room));
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

impl Lines {
    fn printed(prefix: Option<String>) -> Self {
        Self::Printed {
            prefix,
            partial: Default::default(),
        }
    }

    async fn take(&mut self, stream: Output, bytes: Vec<u8>) {
        let index = usize::from(stream == Output::Stderr);
        match self {
            Self::Collected(outputs) => outputs[index].push(&bytes),
            Self::Printed { prefix: None, .. } => write(stream, bytes).await,
            Self::Printed {
                prefix: Some(prefix),
                partial,
            } => {
                let lines = with_prefix(prefix, &mut partial[index], bytes);
                if !lines.is_empty() {
                    write(stream, lines).await;
                }
            }
        }
    }

    /// A last line without an end gets one.
    async fn finish(&mut self) {
        for stream in [Output::Stdout, Output::Stderr] {
            if let Self::Printed { partial, .. } = self
                && !partial[usize::from(stream == Output::Stderr)].is_empty()
            {
                self.take(stream, b"\n".to_vec()).await;
            }
        }
    }
}

/// The whole lines of `partial` and `bytes`, each behind `prefix`; the rest stays in `partial`.
fn with_prefix(prefix: &str, partial: &mut Vec<u8>, bytes: Vec<u8>) -> Vec<u8> {
    partial.extend(bytes);
    let mut lines = Vec::new();
    while let Some(end) = partial.iter().position(|byte| *byte == b'\n') {
        lines.extend_from_slice(format!("{prefix}: ").as_bytes());
        lines.extend(partial.drain(..=end));
    }
    lines
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

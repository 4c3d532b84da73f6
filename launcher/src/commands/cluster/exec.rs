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
    let mut ended = tasks.join_all().await;
    ended.sort_by(|(a, ..), (b, ..)| a.cmp(b));
    if collects {
        let items: Vec<_> = ended
            .iter()
            .map(|(host, result, lines)| item(host, result.as_ref().ok().copied(), lines))
            .collect();
        context.output.document("ExecResult", &json!({ "items": items }))?;
    }
    let (mut codes, mut failures) = (Vec::new(), Vec::new());
    for (_, result, _) in ended {
        match result {
            Ok(code) => codes.push(code),
            Err(failure) => failures.push(failure),
        }
    }
    if !failures.is_empty() {
        return Err(UserError::new(
            "exec.failed",
            ExitCode::Exec,
            "the command could not be run on every host",
        )
        .hosts(failures));
    }
    let highest = codes.into_iter().max().unwrap_or(0);
    Ok(ExitCode::Remote(u8::try_from(highest).unwrap_or(u8::MAX)))
}

/// One host's result, with what its command printed; without a code where it could not be run to its end.
fn item(host: &str, code: Option<i32>, lines: &Lines) -> Value {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_has_the_beginning_of_each_output() {
        let mut outputs: [Collected; 2] = Default::default();
        outputs[0].push(&vec![b'x'; COLLECTED - 1]);
        outputs[0].push(b"y");
        outputs[1].push(b"why\n");
        let whole = item("h1", Some(3), &Lines::Collected(outputs));
        assert_eq!((&whole["host"], &whole["exitCode"]), (&json!("h1"), &json!(3)));
        assert_eq!(
            (&whole["stderr"], &whole["truncated"]),
            (&json!("why\n"), &json!(false))
        );
        assert!(whole["stdout"].as_str().unwrap().ends_with("xy"));
        let mut outputs: [Collected; 2] = Default::default();
        outputs[0].push(&vec![b'x'; COLLECTED + 1]);
        let cut = item("h1", None, &Lines::Collected(outputs));
        assert_eq!((&cut["exitCode"], &cut["truncated"]), (&Value::Null, &json!(true)));
        assert_eq!(cut["stdout"].as_str().unwrap().len(), COLLECTED);
    }

    #[test]
    fn lines_bear_their_host_s_name() {
        let mut partial = Vec::new();
        assert_eq!(with_prefix("h1", &mut partial, b"on".to_vec()), b"");
        let lines = with_prefix("h1", &mut partial, b"e\ntwo\nth".to_vec());
        assert_eq!(
            (lines.as_slice(), partial.as_slice()),
            (&b"h1: one\nh1: two\n"[..], &b"th"[..])
        );
    }
}

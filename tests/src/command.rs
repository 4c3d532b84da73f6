//! Commands with a deadline, what they say, and what they are told while they run.

use std::ffi::OsStr;
use std::io::Read;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::{os::unix::process::ExitStatusExt, path::Path};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::wait::{pause, wait_until};

/// How long a command may take that is not said to take longer.
const LIMIT: Duration = Duration::from_secs(60);

/// How long the output of a command may stay open after its end.
const OUTPUT_LIMIT: Duration = Duration::from_secs(5);

/// A command to run.
#[derive(Debug)]
pub struct Command {
    inner: std::process::Command,
    limit: Duration,
}

/// What a command that has ended came to.
#[derive(Debug)]
pub struct Output {
    /// Its exit code; `None` after a signal.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
    /// From its start to its end.
    pub took: Duration,
    line: String,
}

/// A command that runs. It is killed when this is dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    stdout: Capture,
    stderr: Capture,
    started: Instant,
    limit: Duration,
    line: String,
}

impl Command {
    /// The program with this path, or of this name on `PATH`.
    #[must_use]
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let mut inner = std::process::Command::new(program);
        inner.stdin(Stdio::null());
        Self { inner, limit: LIMIT }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<I: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = I>) -> Self {
        self.inner.args(args);
        self
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.inner.env(name, value);
        self
    }

    /// Runs it in this directory.
    #[must_use]
    pub fn current_dir(mut self, directory: &Path) -> Self {
        self.inner.current_dir(directory);
        self
    }

    /// Sets its standard input, which is empty otherwise.
    #[must_use]
    pub fn stdin(mut self, stdin: Stdio) -> Self {
        self.inner.stdin(stdin);
        self
    }

    /// Sets how long it may take; a minute otherwise.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Starts it.
    ///
    /// # Panics
    /// When that is not possible.
    #[must_use]
    pub fn start(mut self) -> Running {
        let line = line(&self.inner);
        self.inner.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.inner.spawn().unwrap_or_else(|error| panic!("{line}: {error}"));
        Running {
            stdout: Capture::start(child.stdout.take()),
            stderr: Capture::start(child.stderr.take()),
            child,
            started: Instant::now(),
            limit: self.limit,
            line,
        }
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// When it does not end in time.
    #[must_use]
    pub fn run(self) -> Output {
        self.start().wait()
    }
}

impl Running {
    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        // A child that was not waited for keeps its number, even when it has ended.
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let sent = pid.map(|pid| kill_process(pid, signal));
        assert_eq!(sent, Some(Ok(())), "{}: {signal:?}", self.line);
    }

    /// Waits until its standard output holds `text`.
    ///
    /// # Panics
    /// When it ends, or has taken all its time, without having said it.
    pub fn says(&mut self, text: &str) {
        self.wait_for("standard output", text, |running| running.stdout.text());
    }

    /// Waits until its standard error holds `text`.
    ///
    /// # Panics
    /// As [`Self::says`].
    pub fn reports(&mut self, text: &str) {
        self.wait_for("standard error", text, |running| running.stderr.text());
    }

    fn wait_for(&mut self, stream: &str, text: &str, read: impl Fn(&Self) -> String) {
        let what = format!("{} says `{text}` on {stream}", self.line);
        let limit = self.limit;
        wait_until(limit, &what, || {
            let ended = self.has_ended();
            let said = read(self);
            if said.contains(text) {
                return Some(());
            }
            let stderr = self.stderr.text();
            assert!(
                !ended,
                "{} ended without saying `{text}` on {stream}\n{said}\n{stderr}",
                self.line
            );
            None
        });
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.try_wait().is_some()
    }

    fn try_wait(&mut self) -> Option<ExitStatus> {
        let status = self.child.try_wait();
        status.unwrap_or_else(|error| panic!("{}: {error}", self.line))
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not come in time.
    pub fn wait(mut self) -> Output {
        let deadline = self.started + self.limit;
        let status = loop {
            if let Some(status) = self.try_wait() {
                break status;
            }
            if Instant::now() >= deadline {
                let (stdout, stderr) = (self.stdout.text(), self.stderr.text());
                panic!("{}: not over after {:?}\n{stdout}\n{stderr}", self.line, self.limit);
            }
            pause();
        };
        let took = self.started.elapsed();
        let stdout = self.stdout.finish(&self.line);
        let stderr = self.stderr.finish(&self.line);
        let line = std::mem::take(&mut self.line);
        Output {
            code: status.code(),
            signal: status.signal(),
            stdout,
            stderr,
            took,
            line,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended already is as good.
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

impl Output {
    /// Checks how it ended.
    ///
    /// # Panics
    /// When it ended otherwise.
    #[must_use]
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "exit code\n{}", self.everything());
        self
    }

    /// Checks that it ended well.
    ///
    /// # Panics
    /// When it did not.
    #[track_caller]
    pub fn fine(self) -> Self {
        self.exits(0)
    }

    /// Checks that standard error holds all these texts.
    ///
    /// # Panics
    /// When one is missing.
    #[track_caller]
    pub fn reports(self, texts: &[&str]) -> Self {
        for text in texts {
            let said = self.stderr.contains(text);
            assert!(said, "`{text}` is not on standard error\n{}", self.everything());
        }
        self
    }

    /// The JSON document on standard output.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("no JSON: {error}\n{}", self.everything()))
    }

    /// The only line of standard output.
    ///
    /// # Panics
    /// When there are more or fewer.
    #[must_use]
    #[track_caller]
    pub fn word(&self) -> String {
        let lines: Vec<&str> = self.stdout.lines().collect();
        assert_eq!(lines.len(), 1, "one line\n{}", self.everything());
        lines[0].to_owned()
    }

    /// Everything about it, for people.
    #[must_use]
    pub fn everything(&self) -> String {
        let Self {
            code,
            signal,
            stdout,
            stderr,
            took,
            line,
        } = self;
        format!("{line}\ncode {code:?}, signal {signal:?}, took {took:.1?}\n-- stdout\n{stdout}\n-- stderr\n{stderr}")
    }
}

/// Collects what comes out of a pipe.
#[derive(Debug)]
struct Capture {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Capture {
    fn start(pipe: Option<impl Read + Send + 'static>) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let shared = bytes.clone();
        let reader = pipe.map(|mut pipe| {
            std::thread::spawn(move || {
                let mut chunk = [0; 16 << 10];
                while let Ok(count @ 1..) = pipe.read(&mut chunk) {
                    shared
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .extend_from_slice(&chunk[..count]);
                }
            })
        });
        Self { bytes, reader }
    }

    fn text(&self) -> String {
        let bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// All of it, once the other end is closed. A process left behind that holds it open is a failure.
    fn finish(&mut self, line: &str) -> String {
        if let Some(reader) = self.reader.take() {
            let what = format!(
                "the output of {line} is closed after its end; it has said so far:\n{}",
                self.text()
            );
            wait_until(OUTPUT_LIMIT, &what, || reader.is_finished().then_some(()));
        }
        self.text()
    }
}

fn line(command: &std::process::Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(OsStr::to_string_lossy).collect();
    words.join(" ")
}

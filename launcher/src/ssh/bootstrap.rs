//! Our binary on the host: found or brought there, then executed, over one exec and in strict turns.

use std::io;
use std::time::Duration;

use thiserror::Error;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::binary::Binary;
use super::connection::{BoxReader, BoxWriter, Channel, HostConnection};
use super::error::SshError;
use super::script::{self, Answer, Plan, ShellFacts, marker, parse_answer, quote};
use crate::agent::{AGENT, AgentClient, SERVE};
use crate::program::{ElfNeeds, GlibcVersion};

/// Limit for one answer of the shell. Login files may take their time.
const TURN: Duration = Duration::from_secs(20);
/// Limit for each piece of the upload to be taken.
const STALL: Duration = Duration::from_secs(30);
/// Limit for the host to hash and rename what was sent.
const STORE: Duration = Duration::from_secs(120);
/// Size of a piece of the upload, in bytes.
const PIECE: usize = 128 << 10;
/// What login files may print before the first answer, in bytes.
const MAX_NOISE: usize = 1 << 20;
/// How much of its first line is kept, in characters.
const MAX_LINE: usize = 80;

/// A program of ours that runs on the host, attached: its input, output, and what it says on stderr.
pub struct Program {
    /// Its standard output, from its very first byte.
    pub reader: BoxReader,
    /// Its standard input.
    pub writer: BoxWriter,
    /// Its standard error.
    pub stderr: BoxReader,
    /// The first line that the login files printed, if they print anything: it is skipped here, and spoils sftp and rsync.
    pub noise: Option<String>,
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Program")
    }
}

/// How far the upload of the binary is; nothing is reported when the host has it already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UploadProgress {
    /// Bytes handed over so far.
    pub sent: u64,
    /// Bytes in all.
    pub size: u64,
}

/// Why our binary does not run on a host that SSH reaches.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{host}: {failure}")]
pub struct BootstrapError {
    /// The host's name in the inventory.
    pub host: String,
    /// What went wrong.
    pub failure: BootstrapFailure,
}

/// What went wrong with a bootstrap.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BootstrapFailure {
    /// No shell could be started.
    #[error("{}", .0.kind)]
    Ssh(Box<SshError>),
    /// The host did not answer.
    #[error("no answer within {}s (to: {turn})", after.as_secs())]
    Silent {
        /// What it was asked to do.
        turn: &'static str,
        /// For how long was waited.
        after: Duration,
    },
    /// Another operating system or machine.
    #[error("the host is {theirs}, this flinkctl is for {ours}")]
    WrongMachine {
        /// What this binary is for.
        ours: String,
        /// What the host is.
        theirs: String,
    },
    /// The host's C library is too old.
    #[error("this flinkctl needs glibc {needs}, the host has {has}")]
    OldLibc {
        /// What this binary needs.
        needs: String,
        /// What the host has.
        has: String,
    },
    /// The file system of the base directory is full.
    #[error("no space left for the upload: {0}")]
    NoSpace(String),
    /// The base directory cannot be written.
    #[error("the base directory cannot be written: {0}")]
    NotWritable(String),
    /// The bytes that arrived are not those that were sent.
    #[error("the upload arrived damaged: {0}")]
    Damaged(String),
    /// The upload failed otherwise.
    #[error("the upload failed: {0}")]
    Upload(String),
    /// This machine's copy of the binary cannot be read.
    #[error("read the binary to upload: {0}")]
    Unreadable(String),
    /// The binary is there and does not run.
    #[error("the uploaded flinkctl cannot be executed: {0}")]
    NotExecuted(String),
    /// The shell ended without an answer.
    #[error("the login shell ended before it did anything{}{}", if .0.is_empty() { "" } else { ": " }, .0)]
    Closed(String),
    /// Nothing of ours came in a flood of other output.
    #[error("the login files print too much")]
    Noise,
    /// What came is not the agent of this version.
    #[error("unexpected answer: {0}")]
    Protocol(String),
}

impl BootstrapError {
    /// The error's code, as in `error[code]`.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match &self.failure {
            BootstrapFailure::Ssh(error) => error.code(),
            BootstrapFailure::Silent { .. } => "ssh.timeout",
            BootstrapFailure::WrongMachine { .. } | BootstrapFailure::OldLibc { .. } => "binary.incompatible",
            BootstrapFailure::NoSpace(_) => "host.disk-full",
            BootstrapFailure::NotWritable(_) => "host.read-only",
            BootstrapFailure::Damaged(_) => "upload.damaged",
            BootstrapFailure::Upload(_) | BootstrapFailure::Unreadable(_) => "upload.failed",
            BootstrapFailure::NotExecuted(_) => "host.exec",
            BootstrapFailure::Closed(_) | BootstrapFailure::Noise | BootstrapFailure::Protocol(_) => "ssh.bootstrap",
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<String> {
        Some(match &self.failure {
            BootstrapFailure::Ssh(error) => return error.help(),
            BootstrapFailure::Silent { .. } | BootstrapFailure::Noise | BootstrapFailure::Closed(_) => {
                format!("see what its login files do: ssh {} exec sh -s </dev/null", self.host)
            }
            BootstrapFailure::WrongMachine { .. } => "use a flinkctl that was built for the host".to_owned(),
            BootstrapFailure::OldLibc { .. } => {
                "use a flinkctl built for x86_64-unknown-linux-musl, or on the oldest host's system".to_owned()
            }
            BootstrapFailure::NoSpace(_) | BootstrapFailure::NotWritable(_) => {
                format!(
                    "make room there, or set [dirs] base; flinkctl cluster check -H {} shows all directories",
                    self.host
                )
            }
            BootstrapFailure::NotExecuted(_) => {
                "the file system of [dirs] base may be mounted noexec: set another base".to_owned()
            }
            _ => return None,
        })
    }

    const fn new(host: String, failure: BootstrapFailure) -> Self {
        Self { host, failure }
    }

    pub(crate) fn protocol(host: String, text: impl Into<String>) -> Self {
        Self::new(host, BootstrapFailure::Protocol(text.into()))
    }

    pub(crate) fn not_executed(host: String, text: &str) -> Self {
        Self::new(host, BootstrapFailure::NotExecuted(text.to_owned()))
    }

    pub(crate) const fn silent(host: String, turn: &'static str, after: Duration) -> Self {
        Self::new(host, BootstrapFailure::Silent { turn, after })
    }
}

impl HostConnection {
    /// Starts the agent on the host, uploading the binary first if it is not there.
    ///
    /// # Errors
    /// See [`BootstrapFailure`]; nothing is left on the host then.
    pub async fn agent(
        &self,
        binary: &Binary,
        base: &str,
        progress: impl FnMut(UploadProgress),
    ) -> Result<AgentClient, BootstrapError> {
        let arguments = format!("{AGENT} {SERVE} \"$B\"");
        let program = self.bootstrap(binary, base, &arguments, progress).await?;
        AgentClient::greet(self.host().to_owned(), program).await
    }

    /// Runs the binary with other arguments on the host, attached, uploading it first if it is not there.
    ///
    /// # Errors
    /// See [`BootstrapFailure`]; nothing is left on the host then. That the program itself fails shows on its outputs.
    pub async fn program(
        &self,
        binary: &Binary,
        base: &str,
        arguments: &[&str],
        progress: impl FnMut(UploadProgress),
    ) -> Result<Program, BootstrapError> {
        let arguments: Vec<_> = arguments.iter().map(|argument| quote(argument)).collect();
        self.bootstrap(binary, base, &arguments.join(" "), progress).await
    }

    async fn bootstrap(
        &self,
        binary: &Binary,
        base: &str,
        arguments: &str,
        progress: impl FnMut(UploadProgress),
    ) -> Result<Program, BootstrapError> {
        let failed = |failure| BootstrapError::new(self.host().to_owned(), failure);
        let channel = timeout(TURN, self.shell())
            .await
            .map_err(|_elapsed| BootstrapError::silent(self.host().to_owned(), "open a session", TURN))?
            .map_err(|error| failed(BootstrapFailure::Ssh(Box::new(error))))?;
        let nonce = uuid::Uuid::now_v7().simple().to_string();
        let plan = Plan {
            nonce: &nonce,
            base,
            digest: binary.digest(),
            size: binary.size(),
            arguments,
        };
        let mut turns = Turns::new(channel, &nonce);
        turns
            .run(&plan, binary, self.uploads(), progress)
            .await
            .map_err(failed)?;
        Ok(turns.into_program())
    }
}

/// The dialogue with the shell.
struct Turns {
    writer: BoxWriter,
    reader: BufReader<BoxReader>,
    stderr: BoxReader,
    marker: Vec<u8>,
    noise: Option<String>,
}

impl Turns {
    fn new(channel: Channel, nonce: &str) -> Self {
        Self {
            writer: channel.writer,
            reader: BufReader::with_capacity(32 << 10, channel.reader),
            stderr: channel.stderr,
            marker: marker(nonce).into_bytes(),
            noise: None,
        }
    }

    async fn run(
        &mut self,
        plan: &Plan<'_>,
        binary: &Binary,
        uploads: &Semaphore,
        progress: impl FnMut(UploadProgress),
    ) -> Result<(), BootstrapFailure> {
        self.send(script::opening(plan).as_bytes()).await?;
        match self.answer("find flinkctl", TURN).await? {
            Answer::Ready => return Ok(()),
            Answer::Missing(facts) => check_machine(&facts, binary).await?,
            other => return Err(unexpected(&other)),
        }
        // The shell waits meanwhile. The gate is never closed.
        let _turn = uploads.acquire().await;
        self.send(script::UPLOAD.as_bytes()).await?;
        match self.answer("take an upload", TURN).await? {
            Answer::Go => {}
            other => return Err(unexpected(&other)),
        }
        let result = self.upload(binary, progress).await;
        if let Err(failure @ (BootstrapFailure::Unreadable(_) | BootstrapFailure::Silent { .. })) = result {
            return Err(failure);
        }
        // A broken pipe is how a failed upload shows here; the reason has been sent before.
        match self.answer("store the upload", STORE).await? {
            Answer::Ready => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), BootstrapFailure> {
        let written = async {
            self.writer.write_all(bytes).await?;
            self.writer.flush().await
        };
        match timeout(STALL, written).await {
            // When the shell is gone, its last words tell more than the broken pipe.
            Ok(_) => Ok(()),
            Err(_elapsed) => Err(BootstrapFailure::Silent {
                turn: "read its input",
                after: STALL,
            }),
        }
    }

    async fn upload(
        &mut self,
        binary: &Binary,
        mut progress: impl FnMut(UploadProgress),
    ) -> Result<(), BootstrapFailure> {
        let unreadable = |error: io::Error| BootstrapFailure::Unreadable(error.to_string());
        let file = tokio::fs::File::open(binary.path()).await.map_err(unreadable)?;
        let size = binary.size();
        let mut file = file.take(size);
        let mut piece = vec![0; PIECE];
        let mut sent = 0;
        progress(UploadProgress { sent, size });
        loop {
            let count = file.read(&mut piece).await.map_err(unreadable)?;
            if count == 0 {
                return if sent == size {
                    Ok(())
                } else {
                    Err(BootstrapFailure::Unreadable("the file has become shorter".to_owned()))
                };
            }
            match timeout(STALL, self.writer.write_all(&piece[..count])).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Err(BootstrapFailure::Upload(error.to_string())),
                Err(_elapsed) => {
                    return Err(BootstrapFailure::Silent {
                        turn: "take the upload",
                        after: STALL,
                    });
                }
            }
            sent += count as u64;
            progress(UploadProgress { sent, size });
        }
    }

    /// The next answer, whatever login files print before it.
    async fn answer(&mut self, turn: &'static str, after: Duration) -> Result<Answer, BootstrapFailure> {
        let line = timeout(after, self.marked_line())
            .await
            .map_err(|_elapsed| BootstrapFailure::Silent { turn, after })?;
        match line {
            Ok(Some(line)) => match parse_answer(&line) {
                Some(Answer::Failed(step, text)) => Err(upload_failure(&step, text)),
                Some(answer) => Ok(answer),
                None => Err(BootstrapFailure::Protocol(line)),
            },
            Ok(None) => Err(BootstrapFailure::Closed(self.last_words().await)),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(BootstrapFailure::Noise),
            Err(error) => Err(BootstrapFailure::Closed(error.to_string())),
        }
    }

    /// The rest of the line that begins with the marker; `None` at the end. Takes not a byte beyond that line.
    async fn marked_line(&mut self) -> io::Result<Option<String>> {
        let mut line = Vec::new();
        let mut noise = 0;
        loop {
            // Each marker follows a newline of its own, so lines are enough: the newline before is the end of the last one.
            let count = (&mut self.reader)
                .take(MAX_NOISE as u64)
                .read_until(b'\n', &mut line)
                .await?;
            if count == 0 {
                return Ok(None);
            }
            if let Some(rest) = line.strip_prefix(&self.marker[1..]) {
                return Ok(Some(String::from_utf8_lossy(rest).trim_end_matches('\n').to_owned()));
            }
            if self.noise.is_none() && !line.trim_ascii().is_empty() {
                self.noise = Some(
                    String::from_utf8_lossy(line.trim_ascii())
                        .chars()
                        .take(MAX_LINE)
                        .collect(),
                );
            }
            noise += count;
            if noise > MAX_NOISE {
                return Err(io::ErrorKind::InvalidData.into());
            }
            line.clear();
        }
    }

    async fn last_words(&mut self) -> String {
        let mut text = Vec::new();
        // An error of the pipe ends the text like its end does.
        let _cut = timeout(
            Duration::from_secs(1),
            (&mut self.stderr).take(4096).read_to_end(&mut text),
        )
        .await;
        String::from_utf8_lossy(&text).trim().to_owned()
    }

    fn into_program(self) -> Program {
        Program {
            // What follows the last answer may be in the buffer already.
            reader: Box::new(self.reader),
            writer: self.writer,
            stderr: self.stderr,
            noise: self.noise,
        }
    }
}

fn unexpected(answer: &Answer) -> BootstrapFailure {
    BootstrapFailure::Protocol(format!("{answer:?}"))
}

/// Whether the host can run the binary at all, before it is uploaded.
async fn check_machine(facts: &ShellFacts, binary: &Binary) -> Result<(), BootstrapFailure> {
    let path = binary.path().to_owned();
    let needs = tokio::task::spawn_blocking(move || -> Result<ElfNeeds, String> {
        // Not all of it at once: many hosts may be new, and a JobManager would keep the memory.
        let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
        ElfNeeds::of(&object::ReadCache::new(file)).map_err(|error| error.to_string())
    })
    .await
    .map_err(|error| error.to_string())
    .and_then(|needs| needs)
    .map_err(BootstrapFailure::Unreadable)?;
    judge(facts, &needs)
}

fn judge(facts: &ShellFacts, needs: &ElfNeeds) -> Result<(), BootstrapFailure> {
    if facts.system != "Linux" || facts.machine != needs.machine {
        return Err(BootstrapFailure::WrongMachine {
            ours: format!("Linux {}", needs.machine),
            theirs: format!("{} {}", facts.system, facts.machine),
        });
    }
    // An unknown version is no reason to refuse: the execution will tell.
    match (needs.glibc, GlibcVersion::parse(&facts.glibc)) {
        (Some(needs), Some(has)) if has < needs => Err(BootstrapFailure::OldLibc {
            needs: needs.to_string(),
            has: has.to_string(),
        }),
        _ => Ok(()),
    }
}

fn upload_failure(step: &str, text: String) -> BootstrapFailure {
    let says = |words: &str| text.contains(words);
    if says("No space left on device") || says("Disk quota exceeded") {
        BootstrapFailure::NoSpace(text)
    } else if says("Read-only file system") || says("Permission denied") || says("Not a directory") {
        BootstrapFailure::NotWritable(text)
    } else if step == "damaged" {
        BootstrapFailure::Damaged(text)
    } else {
        BootstrapFailure::Upload(format!("{step}: {text}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(system: &str, machine: &str, glibc: &str) -> ShellFacts {
        ShellFacts {
            system: system.to_owned(),
            machine: machine.to_owned(),
            glibc: glibc.to_owned(),
            home: "/root".to_owned(),
        }
    }

    #[test]
    fn hosts_that_cannot_run_the_binary_are_refused() {
        let needs = ElfNeeds {
            machine: "x86_64".to_owned(),
            glibc: GlibcVersion::parse("GLIBC_2.34"),
        };
        assert_eq!(judge(&facts("Linux", "x86_64", "2.36"), &needs), Ok(()));
        assert_eq!(judge(&facts("Linux", "x86_64", "2.34"), &needs), Ok(()));
        assert_eq!(judge(&facts("Linux", "x86_64", ""), &needs), Ok(()));
        assert!(matches!(
            judge(&facts("Linux", "aarch64", "2.36"), &needs),
            Err(BootstrapFailure::WrongMachine { .. })
        ));
        assert!(matches!(
            judge(&facts("Darwin", "x86_64", ""), &needs),
            Err(BootstrapFailure::WrongMachine { .. })
        ));
        assert!(matches!(
            judge(&facts("Linux", "x86_64", "2.31"), &needs),
            Err(BootstrapFailure::OldLibc { .. })
        ));
        let unlinked = ElfNeeds { glibc: None, ..needs };
        assert_eq!(judge(&facts("Linux", "x86_64", "2.5"), &unlinked), Ok(()));
    }

    #[test]
    fn failed_steps_are_sorted_by_the_tools_words() {
        let sort =
            |step: &str, text: &str| BootstrapError::new("h".to_owned(), upload_failure(step, text.to_owned())).code();
        assert_eq!(
            sort(
                "write",
                "head: error writing 'standard output': No space left on device"
            ),
            "host.disk-full"
        );
        assert_eq!(
            sort("create", "sh: 12: cannot create /ro/x: Read-only file system"),
            "host.read-only"
        );
        assert_eq!(
            sort("directory", "mkdir: cannot create directory '/x': Permission denied"),
            "host.read-only"
        );
        assert_eq!(sort("damaged", "3 bytes, sha256 00 -"), "upload.damaged");
        assert_eq!(sort("digest", "sh: 13: sha256sum: not found"), "upload.failed");
    }
}

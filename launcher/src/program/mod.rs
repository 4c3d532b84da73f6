//! Job programs as the launcher sees them: finding or building the file, telling whether it is one, whether hosts can
//! run it, and having it build its graph.

mod driver;
mod elf;
mod plan;
mod process;

pub(crate) use driver::{Application, Driver};
pub(crate) use elf::{ElfNeeds, GlibcVersion};
pub(crate) use plan::{Declared, Plan, declare};

use std::{
    io::Read,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use flink_rpc::messages::{BlobDigest, PROTOCOL_VERSION, protocol_of_program};
use sha2::{Digest, Sha256};

use crate::{error::UserError, exit_code::ExitCode};

/// A job program cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ProgramError {
    /// The file is not there, or cannot be read.
    #[error("the job program cannot be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is no executable for Linux.
    #[error("this is not a job program: {reason}")]
    NotExecutable {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        reason: String,
    },
    /// The file's permissions do not allow to execute it.
    #[error("the job program may not be executed")]
    NotPermitted {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is an executable, but does not link `flink`.
    #[error("this is not a job program: it does not call flink::run")]
    NotAJob {
        /// The file.
        path: PathBuf,
    },
    /// It was built against another version of `flink`.
    #[error("the job program was built against protocol {program}, this flinkctl speaks {ours}")]
    Protocol {
        /// The file.
        path: PathBuf,
        /// The program's version.
        program: u32,
        /// Our version.
        ours: u32,
    },
    /// It is for another machine than the hosts.
    #[error(
        "the job program is for {machine}, this flinkctl and its hosts are {}",
        std::env::consts::ARCH
    )]
    Machine {
        /// The file.
        path: PathBuf,
        /// What it is for, as `uname -m` names it.
        machine: String,
    },
    /// A directory without a Cargo package.
    #[error("this directory is not a Cargo package: it has no Cargo.toml")]
    NotAPackage {
        /// The directory.
        path: PathBuf,
    },
    /// `cargo build` failed; it has said why.
    #[error("the job program could not be built: cargo build failed")]
    Build {
        /// The package directory.
        path: PathBuf,
    },
    /// The package does not make exactly one binary.
    #[error("the package builds {count} binaries, and only one can be the job program")]
    Ambiguous {
        /// The package directory.
        path: PathBuf,
        /// How many.
        count: usize,
    },
    /// The program ended before it gave its graph: it has said why on standard error.
    #[error("the job program ended before it declared its job")]
    Ended {
        /// The file.
        path: PathBuf,
        /// Its exit status.
        status: std::process::ExitStatus,
    },
    /// `build` returned an error.
    #[error("the job program could not declare its job")]
    Declined {
        /// The file.
        path: PathBuf,
        /// The error with its causes.
        message: String,
    },
    /// The program has a driver, and there is none beside a job that nobody waits for.
    #[error("an application cannot be detached: its driver, which submits its jobs, runs on this machine")]
    Detached {
        /// The file.
        path: PathBuf,
        /// Its jobs.
        jobs: Vec<String>,
    },
    /// The program has a driver, which alone knows what its jobs are.
    #[error("an application has no plan: its driver makes the arguments of its jobs while it runs")]
    NoPlan {
        /// The file.
        path: PathBuf,
        /// Its jobs.
        jobs: Vec<String>,
    },
    /// The program could not be run or spoken to.
    #[error("the program could not be run")]
    Run {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// A job program's file, checked.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// Its content address.
    pub(crate) digest: BlobDigest,
    /// Its size, bytes.
    pub(crate) size: u64,
    /// What a host must have to run it.
    pub(crate) needs: ElfNeeds,
}

impl ProgramError {
    /// The exit code that a program which has spoken for itself wants (`--help`, a usage error); else the error.
    ///
    /// # Errors
    /// When there is something left to say.
    pub(crate) fn into_exit(self) -> Result<ExitCode, UserError> {
        match &self {
            Self::Ended { status, .. } if status.success() => Ok(ExitCode::Ok),
            Self::Ended { status, .. } if status.code() == Some(2) => Ok(ExitCode::Usage),
            _ => Err(self.into()),
        }
    }
}

impl ProgramError {
    const fn code(&self) -> &'static str {
        match self {
            Self::Read { .. } => "job.file",
            Self::NotExecutable { .. } | Self::NotPermitted { .. } | Self::NotAJob { .. } => "job.not-a-program",
            Self::Protocol { .. } => "job.protocol",
            Self::Machine { .. } => "binary.incompatible",
            Self::NotAPackage { .. } | Self::Build { .. } | Self::Ambiguous { .. } => "job.build",
            Self::Ended { .. } | Self::Run { .. } => "job.run",
            Self::Declined { .. } => "job.declined",
            Self::Detached { .. } => "application.detached",
            Self::NoPlan { .. } => "application.no-plan",
        }
    }

    fn exit(&self) -> ExitCode {
        match self {
            Self::Read { source, .. } if source.kind() == std::io::ErrorKind::NotFound => ExitCode::NotFound,
            _ => ExitCode::Usage,
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::Read { path, .. }
            | Self::NotExecutable { path, .. }
            | Self::NotPermitted { path, .. }
            | Self::NotAJob { path }
            | Self::Protocol { path, .. }
            | Self::Machine { path, .. }
            | Self::NotAPackage { path }
            | Self::Build { path }
            | Self::Ambiguous { path, .. }
            | Self::Ended { path, .. }
            | Self::Declined { path, .. }
            | Self::Detached { path, .. }
            | Self::NoPlan { path, .. }
            | Self::Run { path, .. } => path,
        }
    }

    /// Why, in the words of whoever said it.
    fn detail(&self) -> Option<String> {
        match self {
            Self::Read { source, .. } | Self::Run { source, .. } => Some(source.to_string()),
            Self::NotPermitted { mode, .. } => Some(format!("its permissions are {mode:04o}")),
            Self::Ended { status, .. } => Some(status.to_string()),
            Self::Declined { message, .. } => Some(message.clone()),
            Self::Detached { jobs, .. } | Self::NoPlan { jobs, .. } => Some(format!("its jobs: {}", jobs.join(", "))),
            _ => None,
        }
    }

    fn help(&self) -> Option<String> {
        Some(match self {
            Self::Read { .. } => "JOB is the program's file, or the directory of its Cargo package".to_owned(),
            Self::NotExecutable { .. } | Self::NotAJob { .. } => {
                "a job program is a Rust executable whose main calls flink::run(build), or run() of a flink::Application"
                    .to_owned()
            }
            Self::NotPermitted { path, .. } => format!("chmod +x {}", path.display()),
            Self::Protocol { .. } => "build the program and flinkctl from the same version".to_owned(),
            Self::Machine { .. } => format!(
                "build it for the machine of the hosts: cargo build --release --target {}-unknown-linux-gnu",
                std::env::consts::ARCH
            ),
            Self::NotAPackage { .. } => {
                "name the program's file, or the directory of its package's Cargo.toml".to_owned()
            }
            Self::Detached { .. } => {
                "leave -d out; for it to outlive your login: systemd-run --user flinkctl job run ..., or tmux"
                    .to_owned()
            }
            Self::NoPlan { .. } => {
                "run it; the graph of a job that runs: flinkctl job list, then flinkctl job status ID".to_owned()
            }
            Self::Ambiguous { .. } => "name the one to run by its file below target/release".to_owned(),
            _ => return None,
        })
    }
}

impl From<ProgramError> for UserError {
    fn from(error: ProgramError) -> Self {
        let mut user = Self::new(error.code(), error.exit(), error.to_string()).at(error.path().display().to_string());
        if let Some(detail) = error.detail() {
            user = user.detail(detail);
        }
        match error.help() {
            Some(help) => user.help(help),
            None => user,
        }
    }
}

impl Program {
    /// Refuses a program for other machines than this flinkctl, which runs on the hosts beside it.
    ///
    /// # Errors
    /// [`ProgramError::Machine`].
    pub(crate) fn check_machine(&self) -> Result<(), ProgramError> {
        if self.needs.machine == std::env::consts::ARCH {
            return Ok(());
        }
        Err(ProgramError::Machine {
            path: self.path.clone(),
            machine: self.needs.machine.clone(),
        })
    }

    /// The program that `job` names: a file, or a Cargo package directory, which is built in release mode first.
    ///
    /// # Errors
    /// See [`ProgramError`]. Nothing of the program has been executed.
    pub(crate) async fn open(job: &Path) -> Result<Self, ProgramError> {
        let path = if job.is_dir() {
            build_package(job).await?
        } else {
            job.to_owned()
        };
        Self::read(path)
    }

    fn read(path: PathBuf) -> Result<Self, ProgramError> {
        let (bytes, mode) = read(&path).map_err(|source| ProgramError::Read {
            path: path.clone(),
            source,
        })?;
        let path = path
            .canonicalize()
            .map_err(|source| ProgramError::Read { path, source })?;
        let needs = ElfNeeds::of(bytes.as_slice()).map_err(|reason| ProgramError::NotExecutable {
            path: path.clone(),
            reason: describe(&bytes).unwrap_or_else(|| reason.to_string()),
        })?;
        match protocol_of_program(&bytes) {
            None => return Err(ProgramError::NotAJob { path }),
            Some(PROTOCOL_VERSION) => {}
            Some(program) => {
                return Err(ProgramError::Protocol {
                    path,
                    program,
                    ours: PROTOCOL_VERSION,
                });
            }
        }
        if mode & 0o111 == 0 {
            return Err(ProgramError::NotPermitted { path, mode });
        }
        let digest = BlobDigest(Sha256::digest(&bytes).into());
        Ok(Self {
            path,
            digest,
            size: bytes.len() as u64,
            needs,
        })
    }
}

/// A file's bytes and its permission bits.
fn read(path: &Path) -> std::io::Result<(Vec<u8>, u32)> {
    let mut file = std::fs::File::open(path)?;
    let metadata = file.metadata()?;
    let mut bytes = Vec::new();
    // What never ends, such as /dev/zero, is no program either.
    if metadata.is_file() {
        file.read_to_end(&mut bytes)?;
    }
    Ok((bytes, metadata.permissions().mode() & 0o7777))
}

/// What a file that is no executable of ours seems to be.
fn describe(bytes: &[u8]) -> Option<String> {
    if bytes.is_empty() {
        return Some("the file is empty".to_owned());
    }
    let first = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    if first.starts_with(b"#!") {
        return Some(format!(
            "it is a script ({})",
            String::from_utf8_lossy(first).trim_end()
        ));
    }
    (!bytes.starts_with(b"\x7fELF")).then(|| "it is not an executable for Linux (ELF)".to_owned())
}

/// Builds the package as `cargo run --release` would; Cargo's own messages go to standard error. Cargo ends with this
/// call, also when it is dropped.
async fn build_package(directory: &Path) -> Result<PathBuf, ProgramError> {
    // Cargo would go on looking in the directories above, and build what nobody named.
    if !directory.join("Cargo.toml").is_file() {
        return Err(ProgramError::NotAPackage {
            path: directory.to_owned(),
        });
    }
    let failed = |source| ProgramError::Run {
        path: "cargo".into(),
        source,
    };
    let building = tokio::process::Command::new("cargo")
        .args(["build", "--release", "--message-format=json-render-diagnostics"])
        .current_dir(directory)
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let output = building.wait_with_output().await.map_err(failed)?;
    if !output.status.success() {
        return Err(ProgramError::Build {
            path: directory.to_owned(),
        });
    }
    let mut executables: Vec<PathBuf> = output
        .stdout
        .split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice::<serde_json::Value>(line).ok())
        .filter_map(|message| Some(PathBuf::from(message.get("executable")?.as_str()?)))
        .collect();
    match (executables.pop(), executables.len()) {
        (Some(executable), 0) => Ok(executable),
        (found, rest) => Err(ProgramError::Ambiguous {
            path: directory.to_owned(),
            count: rest + usize::from(found.is_some()),
        }),
    }
}

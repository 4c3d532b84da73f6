//! The way to a cluster's JobManagers: through an agent on the JobManager's host.

use std::{collections::BTreeMap, time::Duration};

use flink_graph::JobId;
use flink_jobmanager::archive::ArchivedJob;
use flink_rpc::messages::{ClientRequest, ClusterStatus, Fault, JobSummary};
use serde::de::DeserializeOwned;

use crate::{
    agent::{
        CallError, ClientError, Replies,
        protocol::{AgentError, Bytes, LaunchOutcome, LaunchSpec, Program},
    },
    config::{Cluster, Host},
    error::{HostFailure, UserError},
    exit_code::ExitCode,
    hosts::{HostLink, Hosts},
    process::ProcessIdentity,
    runtime::{JobManagerReady, JobManagerStartup, Layout, SESSION_RECORD, SessionKind, SessionRecord},
};

/// Longest session record or archived job that is read, bytes.
const MAX_RECORD: usize = 64 << 20;

/// So many ids that fit are named when only one should.
const AMBIGUOUS_SHOWN: usize = 5;

/// How long a JobManager may take from its start to its readiness.
const READY_TIMEOUT: Duration = Duration::from_secs(20);

/// The JobManager's host, reached.
#[derive(Debug)]
pub(crate) struct Control {
    /// The link to it.
    pub(crate) link: HostLink,
    /// Directories of the cluster there.
    pub(crate) layout: Layout,
    cluster: Cluster,
}

/// A job somewhere in the cluster.
#[derive(Debug)]
pub(crate) enum FoundJob {
    /// Its JobManager knows it.
    Live {
        /// The session.
        session: Box<SessionRecord>,
        /// The job.
        id: JobId,
    },
    /// Its cluster is gone.
    Archived(Box<ArchivedJob>),
}

impl Control {
    /// Reaches the JobManager's host.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub(crate) async fn connect(cluster: &Cluster, uploading: impl FnMut(u64, u64)) -> Result<Self, UserError> {
        let hosts = Hosts::from_here(cluster).map_err(anyhow::Error::new)?;
        let host = cluster.jobmanager_host();
        let link = hosts
            .connect(host, uploading)
            .await
            .map_err(|error| error.into_user_error(&host.name))?;
        Ok(Self {
            link,
            layout: Layout::of(&cluster.name),
            cluster: cluster.clone(),
        })
    }

    /// The JobManager's host.
    pub(crate) fn host(&self) -> &Host {
        self.cluster.jobmanager_host()
    }

    /// The inventory.
    pub(crate) fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Starts a JobManager and waits until it serves.
    ///
    /// # Errors
    /// When it does not; nothing of it is left then.
    pub(crate) async fn launch(&self, startup: &JobManagerStartup) -> Result<ProcessIdentity, UserError> {
        let host = &startup.host;
        let directory = self.layout.session(&startup.session);
        let payload = postcard::to_stdvec(startup).map_err(anyhow::Error::new)?;
        let spec = LaunchSpec {
            program: Program::Flinkctl,
            args: vec!["jobmanager".to_owned(), "--launched".to_owned()],
            env: self
                .host()
                .env
                .iter()
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
            tag: format!("{}/jobmanager", self.layout.tag(&startup.session)),
            log: format!("{directory}/jobmanager.log"),
            working_dir: None,
            payload: Bytes(payload),
            ready_timeout: READY_TIMEOUT,
        };
        let outcome = self.link.agent.launch(spec).await.map_err(call_error)?;
        let result = match outcome {
            LaunchOutcome::Ready { identity, message } => {
                let said: Result<JobManagerReady, Fault> =
                    postcard::from_bytes(&message.0).map_err(anyhow::Error::new)?;
                said.map(|_ready| identity)
                    .map_err(|fault| fault_error(fault).at(host.clone()))
            }
            LaunchOutcome::Died { exit, log_tail, after } => {
                let what = format!("{host}: the JobManager exited {after:.1?} after its start ({exit})");
                Err(UserError::new("jobmanager.died", ExitCode::Internal, what).detail(log_tail))
            }
            LaunchOutcome::NotReady { log_tail } => {
                let what = format!("{host}: the JobManager was not ready within {READY_TIMEOUT:?}");
                Err(UserError::new("jobmanager.start-timeout", ExitCode::Timeout, what).detail(log_tail))
            }
        };
        if result.is_err() {
            // The error that is reported is the one that matters; `cluster clean` finds what this one leaves.
            let _unreachable = self.link.agent.remove_tree(&directory).await;
        }
        result
    }

    /// All sessions and per-job clusters that have a record, by name.
    ///
    /// # Errors
    /// When the host does not answer.
    pub(crate) async fn sessions(&self) -> Result<Vec<SessionRecord>, UserError> {
        let entries = match self.link.agent.list_dir(&self.layout.sessions()).await {
            Ok(entries) => entries,
            Err(CallError::Agent {
                error: AgentError::NotFound { .. },
                ..
            }) => Vec::new(),
            Err(error) => return Err(call_error(error)),
        };
        let mut sessions = Vec::new();
        for entry in entries.iter().filter(|entry| entry.directory) {
            sessions.extend(self.session(&entry.name).await?);
        }
        Ok(sessions)
    }

    /// The record of a session; `None` when there is none.
    ///
    /// # Errors
    /// When the host does not answer, or the record is damaged.
    pub(crate) async fn session(&self, name: &str) -> Result<Option<SessionRecord>, UserError> {
        let path = format!("{}/{SESSION_RECORD}", self.layout.session(name));
        self.read_record(&path).await
    }

    /// The record of a session that must be there.
    ///
    /// # Errors
    /// Also when there is none.
    pub(crate) async fn expect_session(&self, name: &str) -> Result<SessionRecord, UserError> {
        if let Some(record) = self.session(name).await? {
            return Ok(record);
        }
        let error = UserError::new(
            "session.not-found",
            ExitCode::NotFound,
            format!("there is no session \"{name}\""),
        );
        Err(error.help(format!(
            "flinkctl session list      or start it: flinkctl session start {name} -d"
        )))
    }

    async fn read_record<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, UserError> {
        match self.link.agent.read_file(path, MAX_RECORD).await {
            Ok(bytes) => {
                let record = serde_json::from_slice(&bytes).map_err(|error| {
                    let what = format!("{}: {path} is damaged", self.host().name);
                    UserError::new("record.damaged", ExitCode::Internal, what).detail(error.to_string())
                })?;
                Ok(Some(record))
            }
            Err(CallError::Agent {
                error: AgentError::NotFound { .. },
                ..
            }) => Ok(None),
            Err(error) => Err(call_error(error)),
        }
    }

    /// A call with one reply to the JobManager of `session`.
    ///
    /// # Errors
    /// Its fault, or that it does not answer.
    pub(crate) async fn ask<T: DeserializeOwned>(
        &self,
        session: &str,
        request: &ClientRequest,
    ) -> Result<T, ClientError> {
        self.link.agent.ask(&self.layout.session(session), request).await
    }

    /// A call with a stream of replies to the JobManager of `session`.
    ///
    /// # Errors
    /// That the agent is gone.
    pub(crate) async fn watch<T: DeserializeOwned>(
        &self,
        session: &str,
        request: &ClientRequest,
    ) -> Result<Replies<'_, T>, ClientError> {
        self.link.agent.watch(&self.layout.session(session), request).await
    }

    /// The state of a session; `None` when its JobManager does not answer.
    pub(crate) async fn status(&self, session: &str) -> Option<ClusterStatus> {
        self.ask(session, &ClientRequest::ClusterStatus).await.ok()
    }

    /// The jobs of a session; `None` when its JobManager does not answer.
    pub(crate) async fn jobs(&self, session: &str) -> Option<Vec<JobSummary>> {
        self.ask(session, &ClientRequest::ListJobs).await.ok()
    }

    /// The ids of archived jobs that begin with `prefix`, newest first.
    ///
    /// # Errors
    /// When the host does not answer.
    pub(crate) async fn archived_ids(&self, prefix: &str) -> Result<Vec<JobId>, UserError> {
        let entries = match self.link.agent.list_dir(&self.layout.archive()).await {
            Ok(entries) => entries,
            Err(CallError::Agent {
                error: AgentError::NotFound { .. },
                ..
            }) => Vec::new(),
            Err(error) => return Err(call_error(error)),
        };
        let ids = entries.iter().rev().filter_map(|entry| {
            let id = entry.name.strip_suffix(".json")?;
            id.parse().ok().filter(|_| id.starts_with(prefix))
        });
        Ok(ids.collect())
    }

    /// The record of an archived job; `None` when there is none.
    ///
    /// # Errors
    /// When the host does not answer, or the record is damaged.
    pub(crate) async fn archived(&self, id: JobId) -> Result<Option<ArchivedJob>, UserError> {
        self.read_record(&format!("{}/{id}.json", self.layout.archive())).await
    }

    /// The one job whose id begins with `prefix`, among live sessions first, then in the archive.
    ///
    /// # Errors
    /// When there is none, or several.
    pub(crate) async fn find_job(&self, prefix: &str) -> Result<FoundJob, UserError> {
        let (mut found, mut silent) = (BTreeMap::new(), Vec::new());
        for session in self.sessions().await? {
            let Some(jobs) = self.jobs(&session.name).await else {
                silent.push(session.name);
                continue;
            };
            let matching = jobs.iter().filter(|job| job.id.to_string().starts_with(prefix));
            found.extend(matching.map(|job| (job.id, Some(session.clone()))));
        }
        for id in self.archived_ids(prefix).await? {
            found.entry(id).or_insert(None);
        }
        if found.len() > 1 {
            return Err(ambiguous(prefix, found.into_keys()));
        }
        let job = match found.pop_first() {
            Some((id, Some(session))) => Some(FoundJob::Live {
                session: Box::new(session),
                id,
            }),
            Some((id, None)) => self.archived(id).await?.map(Box::new).map(FoundJob::Archived),
            None if silent.is_empty() => None,
            None => return Err(no_answer(&silent)),
        };
        job.ok_or_else(|| {
            let what = format!("there is no job `{prefix}`");
            UserError::new("job.not-found", ExitCode::NotFound, what).help("flinkctl job list -a")
        })
    }

    /// A fresh start-up message.
    pub(crate) fn startup(&self, session: &str, kind: SessionKind) -> JobManagerStartup {
        JobManagerStartup {
            id: flink_graph::ClusterId::random(),
            cluster: self.cluster.clone(),
            host: self.host().name.clone(),
            session: session.to_owned(),
            kind,
            owner: owner(),
            base: self.link.agent.hello().base.clone().into(),
        }
    }
}

/// What these sessions' jobs are doing is not known.
pub(crate) fn no_answer(sessions: &[String]) -> UserError {
    let what = format!("the JobManager does not answer: session {}", sessions.join(", "));
    let error = UserError::new("jobmanager.lost", ExitCode::Unreachable, what)
        .help("try again; what is known of it: flinkctl session list");
    sessions.iter().fold(error, |error, session| {
        error.help(format!(
            "to end it, and all jobs of it that are left: flinkctl session stop {session}"
        ))
    })
}

/// Several jobs have ids that begin alike.
fn ambiguous(prefix: &str, mut found: impl ExactSizeIterator<Item = JobId>) -> UserError {
    let what = format!("{} jobs have an id that begins with `{prefix}`", found.len());
    let error = UserError::new("job.ambiguous", ExitCode::Usage, what).help("flinkctl job list -a");
    let shown = found.by_ref().take(AMBIGUOUS_SHOWN);
    let error = shown.fold(error, |error, id| error.detail(id.to_string()));
    match found.len() {
        0 => error,
        more => error.detail(format!("... and {more} more")),
    }
}

/// `user@host` of this process.
pub(crate) fn owner() -> String {
    let user = std::env::var("USER")
        .or_else(|_| std::env::var("LOGNAME"))
        .unwrap_or_else(|_| format!("uid {}", rustix::process::getuid().as_raw()));
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{user}@{host}")
}

/// A failed call to an agent, for people.
pub(crate) fn call_error(error: CallError) -> UserError {
    let code = error.code();
    let (host, error) = match error {
        CallError::Agent { host, error } => (host, error),
        CallError::Lost { host, reason } => {
            let what = format!("the connection to {host} was lost");
            return UserError::new(code, ExitCode::Unreachable, what).host(host, reason);
        }
        CallError::Local { path, text } => {
            return UserError::new(code, ExitCode::Usage, "a file cannot be read")
                .at(path)
                .detail(text);
        }
    };
    let failed = |exit, what: String| UserError::new(code, exit, what).host(host.as_str(), error.to_string());
    match &error {
        AgentError::LockHeld { holder, .. } => {
            UserError::new(code, ExitCode::Conflict, "another command is changing this session")
                .at(host.as_str())
                .detail(holder.as_str())
                .help("wait until it has ended; when its machine is gone, the lock is free within a minute")
        }
        AgentError::NoSpace { .. } => failed(ExitCode::Unreachable, format!("the disk of {host} is full")).help(
            format!("make room there, or set [dirs] base; flinkctl cluster check -H {host} shows all directories"),
        ),
        AgentError::JobManager(_) => failed(
            ExitCode::Unreachable,
            "the session's JobManager does not answer".to_owned(),
        )
        .help("try again; what is known of it: flinkctl session list")
        .help("to end it, and all jobs of it that are left: flinkctl session stop NAME"),
        AgentError::NotFound { .. } => failed(ExitCode::NotFound, format!("{host} does not have a file")),
        _ => failed(ExitCode::Unreachable, format!("{host} could not do what it was asked")),
    }
}

/// A failed call to the agent on one of many hosts.
pub(crate) fn call_failure(host: &str, error: &CallError) -> HostFailure {
    HostFailure {
        host: host.to_owned(),
        message: call_text(error),
        hint: None,
    }
}

/// What went wrong with a call, without the host's name.
pub(crate) fn call_text(error: &CallError) -> String {
    match error {
        CallError::Agent { error, .. } => error.to_string(),
        CallError::Lost { reason, .. } => format!("the connection was lost: {reason}"),
        CallError::Local { path, text } => format!("{path}: {text}"),
    }
}

/// A JobManager's fault, for people.
pub(crate) fn fault_error(fault: Fault) -> UserError {
    let exit = fault_exit(&fault);
    let help = fault.help;
    let hosts = fault.hosts.into_iter().map(|host| {
        let failure = HostFailure::from(host);
        // What helps with all of it is said once.
        let hint = failure.hint.filter(|hint| help.as_ref() != Some(hint));
        HostFailure { hint, ..failure }
    });
    let error = UserError::new(fault.code, exit, fault.message).hosts(hosts);
    let error = fault.notes.into_iter().fold(error, UserError::detail);
    match &help {
        Some(help) => error.help(help),
        None => error,
    }
}

fn fault_exit(fault: &Fault) -> ExitCode {
    match fault.code.as_str() {
        "slots.insufficient" => ExitCode::Slots,
        "job.not-found" => ExitCode::NotFound,
        "application.too-many-jobs" => ExitCode::JobFailed,
        "port.in-use"
        | "job.ended"
        | "job.already-attached"
        | "job.detached"
        | "cluster.already-held"
        | "cluster.detached"
        | "cluster.per-job"
        | "cluster.stopping" => ExitCode::Conflict,
        "cluster.left-behind" => ExitCode::Partial,
        code if code.starts_with("ssh.") || code.starts_with("host.") => ExitCode::Unreachable,
        _ if !fault.hosts.is_empty() => ExitCode::Unreachable,
        _ => ExitCode::Internal,
    }
}

/// A failed call to a JobManager, for people.
pub(crate) fn client_error(error: ClientError) -> UserError {
    match error {
        ClientError::Fault(fault) => fault_error(fault),
        ClientError::Call(error) => call_error(error),
    }
}

//! Ending what clusters left behind, host by host. The hosts are the truth: processes are found by the tag in their
//! environment, directories by looking, neither in anybody's records.

use std::time::Duration;

use tokio::task::JoinSet;

use crate::{
    agent::{AgentClient, CallError, protocol::AgentError},
    config::{Cluster, Host},
    control::call_failure,
    error::HostFailure,
    hosts::Hosts,
    process::TaggedProcess,
    runtime::{Layout, tmp},
};

/// What to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Doomed {
    /// These sessions.
    Sessions(Vec<String>),
    /// All sessions but these.
    AllBut(Vec<String>),
    /// All sessions, the archive of ended jobs, and the cache of uploaded files.
    Everything,
}

/// What was found on one host.
#[derive(Debug)]
pub(crate) struct Found {
    /// The host.
    pub(crate) host: String,
    /// The doomed processes.
    pub(crate) processes: Vec<TaggedProcess>,
    /// The doomed directories that hold something, relative to the base directory.
    pub(crate) directories: Vec<String>,
    /// The doomed directories of temporary files.
    pub(crate) temporary: Vec<TmpDir>,
}

/// A directory of temporary files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TmpDir {
    /// `[dirs] tmp` of its host.
    pub(crate) tmp: String,
    /// Its name in there.
    pub(crate) name: String,
    /// The session whose it is.
    pub(crate) session: String,
}

impl Found {
    /// The sessions that something was found of.
    pub(crate) fn sessions(&self) -> impl Iterator<Item = &str> {
        let tags = self
            .processes
            .iter()
            .filter_map(|process| Some(Layout::parse_tag(process.identity.tag.as_deref()?)?.1));
        let directories = self.directories.iter();
        let temporary = self.temporary.iter();
        tags.chain(directories.filter_map(|directory| directory.rsplit('/').next()))
            .chain(temporary.map(|directory| directory.session.as_str()))
    }
}

/// One sweep over the hosts of a cluster.
#[derive(Debug, Clone)]
pub(crate) struct Sweep {
    cluster: String,
    layout: Layout,
    doomed: Doomed,
    processes_only: bool,
    grace: Duration,
}

impl Sweep {
    /// The same, which leaves directories alone.
    #[must_use]
    pub(crate) fn processes_only(mut self, processes_only: bool) -> Self {
        self.processes_only = processes_only;
        self
    }

    /// A sweep that ends `doomed`.
    pub(crate) fn new(cluster: &Cluster, doomed: Doomed) -> Self {
        let (name, grace) = (cluster.name.clone(), cluster.supervise.stop_grace);
        Self {
            layout: Layout::of(&name),
            cluster: name,
            doomed,
            processes_only: false,
            grace,
        }
    }

    /// Looks at all `hosts`, and with `end` ends and removes what it finds. Returns what was found, and the hosts that could not be
    /// looked at or not be cleaned.
    pub(crate) async fn run(&self, hosts: &[Host], reach: &Hosts, end: bool) -> (Vec<Found>, Vec<HostFailure>) {
        let mut tasks = JoinSet::new();
        for host in hosts {
            let (sweep, reach, host) = (self.clone(), reach.clone(), host.clone());
            tasks.spawn(async move { sweep.host(&reach, &host, end).await });
        }
        let (mut found, mut failures) = (Vec::new(), Vec::new());
        for result in tasks.join_all().await {
            match result {
                Ok(one) => found.push(one),
                Err(failure) => failures.push(failure),
            }
        }
        found.sort_by(|a, b| a.host.cmp(&b.host));
        failures.sort_by(|a, b| a.host.cmp(&b.host));
        (found, failures)
    }

    async fn host(&self, reach: &Hosts, host: &Host, end: bool) -> Result<Found, HostFailure> {
        let link = reach
            .connect(host, |_, _| ())
            .await
            .map_err(|error| error.into_failure(&host.name))?;
        let result = async {
            let mut found = self.find(host, &link.agent).await?;
            if end {
                self.end(host, &mut found, &link.agent).await?;
            }
            Ok(found)
        }
        .await
        .map_err(|error: CallError| call_failure(&host.name, &error));
        link.hang_up().await;
        result
    }

    async fn find(&self, host: &Host, agent: &AgentClient) -> Result<Found, CallError> {
        let tagged = agent.list_tagged(&format!("{}/", self.cluster)).await?;
        let processes = tagged
            .into_iter()
            .filter(|process| self.dooms_tag(process.identity.tag.as_deref().unwrap_or_default()));
        let mut found = Found {
            host: host.name.clone(),
            processes: processes.collect(),
            directories: Vec::new(),
            temporary: Vec::new(),
        };
        self.find_directories(host, &mut found, agent).await?;
        Ok(found)
    }

    /// Adds the directories that are not yet among what was found.
    async fn find_directories(&self, host: &Host, found: &mut Found, agent: &AgentClient) -> Result<(), CallError> {
        if self.processes_only {
            return Ok(());
        }
        for directory in self.directories(agent).await? {
            if !found.directories.contains(&directory) {
                found.directories.push(directory);
            }
        }
        for name in tmp::list(agent, &host.tmp_dir, &self.cluster).await? {
            let session = tmp::session_of(&self.cluster, &name).unwrap_or_default().to_owned();
            let directory = TmpDir {
                tmp: host.tmp_dir.clone(),
                name,
                session,
            };
            if self.dooms(&directory.session) && !found.temporary.contains(&directory) {
                found.temporary.push(directory);
            }
        }
        Ok(())
    }

    async fn directories(&self, agent: &AgentClient) -> Result<Vec<String>, CallError> {
        let mut directories: Vec<String> = names(agent, &self.layout.sessions())
            .await?
            .into_iter()
            .filter(|session| self.dooms(session))
            .map(|session| self.layout.session(&session))
            .collect();
        if self.doomed == Doomed::Everything {
            for directory in [self.layout.archive(), Layout::BLOBS.to_owned()] {
                if !names(agent, &directory).await?.is_empty() {
                    directories.push(directory);
                }
            }
        }
        Ok(directories)
    }

    async fn end(&self, host: &Host, found: &mut Found, agent: &AgentClient) -> Result<(), CallError> {
        for process in &found.processes {
            agent.stop(process.identity.clone(), self.grace).await?;
        }
        if !found.processes.is_empty() {
            // At its end a JobManager writes down what became of its detached jobs.
            self.find_directories(host, found, agent).await?;
        }
        for directory in &found.directories {
            agent.remove_tree(directory).await?;
        }
        for directory in &found.temporary {
            tmp::remove(agent, &directory.tmp, &directory.name).await?;
        }
        Ok(())
    }

    fn dooms(&self, session: &str) -> bool {
        match &self.doomed {
            Doomed::Sessions(doomed) => doomed.iter().any(|doomed| doomed == session),
            Doomed::AllBut(spared) => spared.iter().all(|spared| spared != session),
            Doomed::Everything => true,
        }
    }

    fn dooms_tag(&self, tag: &str) -> bool {
        Layout::parse_tag(tag).is_some_and(|(cluster, session, _)| cluster == self.cluster && self.dooms(session))
    }
}

async fn names(agent: &AgentClient, directory: &str) -> Result<Vec<String>, CallError> {
    match agent.list_dir(directory).await {
        Ok(entries) => Ok(entries.into_iter().map(|entry| entry.name).collect()),
        Err(CallError::Agent {
            error: AgentError::NotFound { .. },
            ..
        }) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sweep(doomed: Doomed) -> Sweep {
        Sweep {
            cluster: "prod".to_owned(),
            layout: Layout::of("prod"),
            doomed,
            processes_only: false,
            grace: Duration::ZERO,
        }
    }

    #[test]
    fn only_what_is_doomed_is_ended() {
        let one = sweep(Doomed::Sessions(vec!["etl".to_owned()]));
        let orphans = sweep(Doomed::AllBut(vec!["etl".to_owned()]));
        let all = sweep(Doomed::Everything);
        for (tag, by_one, by_orphans, by_all) in [
            ("prod/etl/jobmanager", true, false, true),
            ("prod/etl2/taskmanager/h1", false, true, true),
            ("prod/job-1/worker/x", false, true, true),
            ("production/etl/jobmanager", false, false, false),
            ("prod", false, false, false),
            ("", false, false, false),
        ] {
            assert_eq!(one.dooms_tag(tag), by_one, "{tag}");
            assert_eq!(orphans.dooms_tag(tag), by_orphans, "{tag}");
            assert_eq!(all.dooms_tag(tag), by_all, "{tag}");
        }
    }
}

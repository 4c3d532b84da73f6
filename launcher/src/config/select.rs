//! Choosing hosts: `-H tm[01-04],@big --exclude tm02`.

use std::collections::BTreeSet;

use super::diagnostic::did_you_mean;
use super::model::{Cluster, Host};
use super::ranges;
use crate::error::UserError;
use crate::exit_code::ExitCode;

impl Cluster {
    /// The hosts that a selection means, in the order of the inventory; all of them if nothing is selected.
    pub(crate) fn select(&self, selected: &[String], excluded: &[String]) -> Result<Vec<&Host>, UserError> {
        let wanted = self.names("-H", selected)?;
        let unwanted = self.names("--exclude", excluded)?;
        let chosen: Vec<&Host> = self
            .hosts
            .iter()
            .filter(|host| selected.is_empty() || wanted.contains(host.name.as_str()))
            .filter(|host| !unwanted.contains(host.name.as_str()))
            .collect();
        if chosen.is_empty() {
            return Err(
                UserError::new("hosts.none", ExitCode::Usage, "the selection leaves no host")
                    .help("flinkctl cluster hosts"),
            );
        }
        Ok(chosen)
    }

    /// This cluster with TaskManagers on the selected hosts only. The JobManager's host stays.
    pub(crate) fn restrict(&self, selected: &[String], excluded: &[String]) -> Result<Self, UserError> {
        let jobmanager = &self.jobmanager_host().name;
        if self.names("--exclude", excluded)?.contains(jobmanager.as_str()) && !self.jobmanager_host().roles.taskmanager
        {
            let message = format!("`{jobmanager}` cannot be excluded: it is the host of the JobManager");
            return Err(UserError::new("hosts.jobmanager", ExitCode::Usage, message));
        }
        let chosen: BTreeSet<&str> = self
            .select(selected, excluded)?
            .into_iter()
            .map(|host| host.name.as_str())
            .collect();
        let mut restricted = self.clone();
        for host in &mut restricted.hosts {
            host.roles.taskmanager &= chosen.contains(host.name.as_str());
        }
        restricted
            .hosts
            .retain(|host| host.roles.jobmanager || host.roles.taskmanager);
        if restricted.taskmanager_hosts().next().is_none() {
            let message = "the selection leaves no host for a TaskManager";
            return Err(UserError::new("hosts.none", ExitCode::Usage, message).help("flinkctl cluster hosts"));
        }
        Ok(restricted)
    }

    /// The names of hosts that a list of selectors means.
    fn names(&self, option: &str, selectors: &[String]) -> Result<BTreeSet<&str>, UserError> {
        let mut names = BTreeSet::new();
        for selector in selectors.iter().flat_map(|list| ranges::split_list(list)) {
            if let Some(group) = selector.strip_prefix('@') {
                let members = self.hosts.iter().filter(|host| host.group.as_deref() == Some(group));
                let before = names.len();
                names.extend(members.map(|host| host.name.as_str()));
                if names.len() == before && !self.hosts.iter().any(|host| host.group.as_deref() == Some(group)) {
                    let groups: Vec<&str> = self.hosts.iter().filter_map(|host| host.group.as_deref()).collect();
                    return Err(unknown("group", option, group, &groups));
                }
                continue;
            }
            let expanded = ranges::expand(selector).map_err(|error| {
                UserError::new("hosts.bad-range", ExitCode::Usage, error.to_string()).at(format!("{option} {selector}"))
            })?;
            for name in expanded {
                match self.host(&name) {
                    Some(host) => names.insert(&host.name),
                    None => {
                        let known: Vec<&str> = self.hosts.iter().map(|host| host.name.as_str()).collect();
                        return Err(unknown("host", option, &name, &known));
                    }
                };
            }
        }
        Ok(names)
    }
}

fn unknown(noun: &str, option: &str, name: &str, known: &[&str]) -> UserError {
    let error = UserError::new(
        "hosts.unknown",
        ExitCode::NotFound,
        format!("there is no {noun} `{name}` in the inventory"),
    );
    let error = error.at(format!("{option} {}{name}", if noun == "group" { "@" } else { "" }));
    match did_you_mean(name, known.iter().copied()) {
        Some(meant) => error.help(format!("did you mean `{meant}`?")),
        None => error.help("flinkctl cluster hosts"),
    }
}

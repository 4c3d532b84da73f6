//! From the layered file to the [`Cluster`]: ranges expanded, the most specific value taken for each host.

use std::collections::BTreeMap;

use serde::Deserialize as _;

use super::diagnostic::{Problem, did_you_mean};
use super::file::{self, File};
use super::layers::Layered;
use super::leaf::{Address, LineMap, Role};
use super::model::{Cluster, Heartbeat, Host, JobManager, Roles, Ssh, Supervise, TaskManager, Tls};
use super::ranges;
use super::settings::{self, Setting};

/// What resolving gives.
#[derive(Debug)]
pub(super) struct Resolved {
    /// The cluster; its hosts may still be wrong together.
    pub(super) cluster: Cluster,
    /// For each host, the index of the `[[host]]` it stems from.
    pub(super) entries: Vec<usize>,
    /// Every value with its origin.
    pub(super) settings: Vec<Setting>,
}

/// Resolves the layers. Problems are added to `layered`; the result is there even so, as far as it goes.
pub(super) fn resolve(layered: &mut Layered) -> Option<Resolved> {
    let file = match File::deserialize(layered.table.clone()) {
        Ok(file) => file,
        Err(error) => {
            // The walk has looked at every value already, so this is a disagreement between `schema` and `file`.
            layered
                .problems
                .push(Problem::nowhere("config.invalid", error.message().to_owned()));
            return None;
        }
    };
    let mut hosts = Vec::new();
    let mut entries = Vec::new();
    let mut settings = settings::of_cluster(layered);
    for (index, entry) in file.host.iter().enumerate() {
        let expander = Expander {
            file: &file,
            entry,
            path: format!("host.{index}"),
            problems: Vec::new(),
        };
        let (expanded, problems) = expander.expand(layered);
        if !problems.is_empty() {
            layered.bad.insert("host".to_owned());
        }
        layered.problems.extend(problems);
        entries.extend(std::iter::repeat_n(index, expanded.len()));
        hosts.extend(expanded);
    }
    appoint_jobmanager(&mut hosts);
    for (host, index) in hosts.iter().zip(&entries) {
        settings.extend(settings::of_host(layered, host, *index));
    }
    Some(Resolved {
        cluster: assemble(file, hosts),
        entries,
        settings,
    })
}

/// Where no host has the role, the first one has it as well.
fn appoint_jobmanager(hosts: &mut [Host]) {
    if !hosts.iter().any(|host| host.roles.jobmanager)
        && let Some(first) = hosts.first_mut()
    {
        first.roles.jobmanager = true;
    }
}

fn assemble(file: File, hosts: Vec<Host>) -> Cluster {
    let File {
        cluster,
        ssh,
        jobmanager,
        taskmanager,
        tls,
        supervise,
        ..
    } = file;
    Cluster {
        name: cluster.name.0,
        ssh: Ssh {
            config_file: ssh.config_file.0,
            jump: ssh.jump.0.into_iter().map(|hop| hop.0).collect(),
            host_keys: ssh.host_keys,
            known_hosts: ssh.known_hosts.map(|path| path.0),
            connect_timeout: ssh.connect_timeout.0,
            auth_timeout: ssh.auth_timeout.0,
            keepalive: ssh.keepalive.0,
            concurrency: ssh.concurrency.0,
            concurrency_per_endpoint: ssh.concurrency_per_endpoint.0,
            uploads: ssh.uploads.0,
            options: lines(&ssh.options),
        },
        hosts,
        jobmanager: JobManager {
            rpc_port: jobmanager.rpc_port.0,
        },
        taskmanager: TaskManager {
            max: taskmanager.max.map(|max| max.0),
            idle_timeout: taskmanager.idle_timeout.0,
            start_timeout: taskmanager.start_timeout.0,
            heartbeat: Heartbeat {
                interval: taskmanager.heartbeat.interval.0,
                timeout: taskmanager.heartbeat.timeout.0,
            },
            data_ports: taskmanager.data_ports,
            placement: taskmanager.placement,
            mtu: taskmanager.mtu,
        },
        tls: Tls {
            validity: tls.validity.0,
        },
        supervise: Supervise {
            death_timeout: supervise.death_timeout.0,
            stop_grace: supervise.stop_grace.0,
        },
    }
}

fn lines(map: &LineMap) -> BTreeMap<String, String> {
    map.iter().map(|(name, line)| (name.clone(), line.0.clone())).collect()
}

/// Turns one `[[host]]` into its hosts.
struct Expander<'a> {
    file: &'a File,
    entry: &'a file::Host,
    path: String,
    problems: Vec<Problem>,
}

impl<'a> Expander<'a> {
    /// The hosts, and what is wrong with the entry; values that are wrong are taken as not given.
    fn expand(mut self, layered: &Layered) -> (Vec<Host>, Vec<Problem>) {
        let names = ranges::expand(&self.entry.name.0).unwrap_or_default();
        let group = self.group(layered);
        let addresses = self.addresses(layered, "address", self.entry.address.as_ref(), &names);
        let addresses = addresses.unwrap_or_else(|| names.clone());
        let data_addresses = self.addresses(layered, "data_address", self.entry.data_address.as_ref(), &names);
        let hosts = names
            .into_iter()
            .zip(addresses)
            .enumerate()
            .map(|(at, (name, address))| {
                let is_local = address == "localhost";
                let implied = || {
                    if is_local {
                        "127.0.0.1".to_owned()
                    } else {
                        address.clone()
                    }
                };
                let data_address = data_addresses.as_ref().map_or_else(implied, |all| all[at].clone());
                self.host(name, address, data_address, is_local, group)
            });
        let hosts = hosts.collect();
        (hosts, self.problems)
    }

    fn host(
        &self,
        name: String,
        address: String,
        data_address: String,
        is_local: bool,
        group: Option<&file::Group>,
    ) -> Host {
        let (file, entry) = (self.file, self.entry);
        let slots = entry
            .slots
            .or_else(|| group.and_then(|group| group.slots))
            .unwrap_or(file.defaults.slots);
        let mut env = lines(&file.defaults.env);
        env.extend(group.map(|group| lines(&group.env)).unwrap_or_default());
        env.extend(lines(&entry.env));
        let roles = entry.roles.as_ref().map_or(&[Role::TaskManager][..], |roles| &roles.0);
        let first_of = |own: Option<&str>, shared: Option<&str>| own.or(shared).map(ToOwned::to_owned);
        Host {
            name,
            address,
            data_address,
            is_local,
            roles: Roles {
                jobmanager: roles.contains(&Role::JobManager),
                taskmanager: roles.contains(&Role::TaskManager),
            },
            group: entry.group.as_ref().map(|group| group.0.clone()),
            slots: slots.0,
            env,
            user: first_of(
                entry.ssh.user.as_ref().map(|user| user.0.as_str()),
                file.ssh.user.as_ref().map(|user| user.0.as_str()),
            ),
            port: entry.ssh.port.or(file.ssh.port).map(|port| port.0),
            identity_file: first_of(
                entry.ssh.identity_file.as_ref().map(|path| path.0.as_str()),
                file.ssh.identity_file.as_ref().map(|path| path.0.as_str()),
            ),
            base_dir: entry.workdir.as_ref().unwrap_or(&file.dirs.base).0.clone(),
            tmp_dir: file.dirs.tmp.0.clone(),
        }
    }

    fn group(&mut self, layered: &Layered) -> Option<&'a file::Group> {
        let name = self.entry.group.as_ref()?;
        let found = self.file.groups.get(&name.0);
        if found.is_some() || !layered.good(&["groups", &format!("groups.{}", name.0)]) {
            return found;
        }
        let known: Vec<&str> = self.file.groups.keys().map(String::as_str).collect();
        let label = if known.is_empty() {
            "there is no [groups.NAME]".to_owned()
        } else {
            format!("known: {}", known.join(", "))
        };
        let message = format!("host `{}` names the unknown group `{}`", self.entry.name.0, name.0);
        let problem = layered.problem_at(&format!("{}.group", self.path), "config.unknown-group", message, label);
        self.problems.push(match did_you_mean(&name.0, known) {
            Some(meant) => problem.help(format!("did you mean `{meant}`?")),
            None => problem.help(format!("add [groups.{}]", name.0)),
        });
        None
    }

    /// One address for each name.
    fn addresses(
        &mut self,
        layered: &Layered,
        key: &str,
        pattern: Option<&Address>,
        names: &[String],
    ) -> Option<Vec<String>> {
        let pattern = &pattern?.0;
        let addresses = ranges::expand_address(pattern).unwrap_or_default();
        if addresses.len() == names.len() {
            return Some(addresses);
        }
        let message = format!(
            "`{key}` does not fit `name`: {} for {}",
            plural(addresses.len(), "address"),
            plural(names.len(), "host")
        );
        let label = format!("\"{pattern}\" means {}", plural(addresses.len(), "address"));
        let mut problem = layered.problem_at(&format!("{}.{key}", self.path), "config.range-mismatch", message, label);
        if let Some(span) = layered.span(&format!("{}.name", self.path)) {
            problem = problem.context(span, plural(names.len(), "host"));
        }
        let help =
            "give both the same number of elements, such as name = \"tm[01-16]\" and address = \"10.0.0.[1-16]\"";
        self.problems.push(problem.help(help));
        None
    }
}

fn plural(number: usize, noun: &str) -> String {
    match (number, noun) {
        (1, _) => format!("1 {noun}"),
        (_, "address") => format!("{number} addresses"),
        _ => format!("{number} {noun}s"),
    }
}

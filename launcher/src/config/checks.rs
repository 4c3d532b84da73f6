//! Checks between values: what is right key by key can still be wrong together.

use std::collections::HashMap;
use std::time::Duration;

use super::diagnostic::Problem;
use super::layers::Layered;
use super::model::{Cluster, Host};
use super::resolve::Resolved;

/// Runs every check; what it finds goes to the problems of `layered`.
pub(super) fn check(resolved: &Resolved, layered: &mut Layered) {
    let checker = Checker {
        cluster: &resolved.cluster,
        entries: &resolved.entries,
        layered,
    };
    let mut problems = checker.timeouts();
    // Where a `[[host]]` had to be left out, checks between hosts would complain about its absence.
    if checker.layered.good(&["host"]) {
        problems.extend(checker.no_hosts());
        problems.extend(checker.roles());
        problems.extend(checker.duplicate_names());
        problems.extend(checker.shared_endpoints());
        problems.extend(checker.shared_data_ports());
        problems.extend(checker.unreachable_localhost());
    }
    layered.problems.extend(problems);
}

struct Checker<'a> {
    cluster: &'a Cluster,
    entries: &'a [usize],
    layered: &'a Layered,
}

impl Checker<'_> {
    /// Each host with the index of the `[[host]]` it stems from.
    fn hosts(&self) -> impl Iterator<Item = (&Host, usize)> {
        self.cluster.hosts.iter().zip(self.entries.iter().copied())
    }

    fn no_hosts(&self) -> Option<Problem> {
        self.cluster.hosts.is_empty().then(|| {
            Problem::nowhere("config.no-hosts", "the inventory has no hosts")
                .help("this machine alone: [[host]] with name = \"localhost\"; others: flinkctl cluster init HOST...")
        })
    }

    fn roles(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let managers: Vec<(&Host, usize)> = self.hosts().filter(|(host, _)| host.roles.jobmanager).collect();
        if let [(first, entry), (second, other), ..] = managers.as_slice() {
            let path = format!("host.{other}.roles");
            let message = format!(
                "{} hosts have the role jobmanager: {}, {}",
                managers.len(),
                first.name,
                second.name
            );
            let mut problem =
                self.layered
                    .problem_at(&path, "config.conflict", message, "a cluster has one JobManager");
            if let Some(span) = self
                .layered
                .span(&format!("host.{entry}.roles"))
                .filter(|_| entry != other)
            {
                problem = problem.context(span, format!("also {}", first.name));
            }
            problems.push(problem);
        }
        if self.cluster.taskmanager_hosts().next().is_none() && !self.cluster.hosts.is_empty() {
            let message = "no host has the role taskmanager: no job could run";
            let problem = self.layered.problem_at(
                "host.0.roles",
                "config.no-taskmanager",
                message.to_owned(),
                "no taskmanager here",
            );
            problems.push(problem.help("roles = [\"jobmanager\", \"taskmanager\"], or add a host"));
        }
        problems
    }

    fn duplicate_names(&self) -> Vec<Problem> {
        self.duplicates(
            |host| Some(host.name.clone()),
            |first, second, entry| {
                let message = format!("two hosts are called `{}`", second.name);
                let path = format!("host.{entry}.name");
                let problem = self
                    .layered
                    .problem_at(&path, "config.conflict", message, "used before");
                (
                    problem.help("every host needs a name of its own"),
                    "name",
                    format!("first `{}`", first.name),
                )
            },
        )
    }

    fn shared_endpoints(&self) -> Vec<Problem> {
        self.duplicates(
            |host| Some(format!("{} {}", host.address, host.port.unwrap_or(22))),
            |first, second, entry| {
                let message = format!(
                    "`{}` and `{}` are the same machine: both have the address {}",
                    first.name, second.name, second.address
                );
                let key = if self.layered.span(&format!("host.{entry}.address")).is_some() {
                    "address"
                } else {
                    "name"
                };
                let problem = self.layered.problem_at(
                    &format!("host.{entry}.{key}"),
                    "config.conflict",
                    message,
                    "address used before",
                );
                let help = if second.is_local {
                    "list this machine once"
                } else {
                    "give one of them another address, or another ssh port"
                };
                (problem.help(help), "address", format!("`{}`", first.name))
            },
        )
    }

    /// Hosts with the same value of `value_of`. One report for each pair of `[[host]]` entries is enough.
    fn duplicates(
        &self,
        value_of: impl Fn(&Host) -> Option<String>,
        report: impl Fn(&Host, &Host, usize) -> (Problem, &'static str, String),
    ) -> Vec<Problem> {
        let mut seen: HashMap<String, (&Host, usize)> = HashMap::new();
        let mut reported = Vec::new();
        let mut problems = Vec::new();
        for (host, entry) in self.hosts() {
            let Some(value) = value_of(host) else { continue };
            let Some(&(first, first_entry)) = seen.get(&value) else {
                seen.insert(value, (host, entry));
                continue;
            };
            // Two hosts of one name are one mistake; that they also share an address is no news.
            let by_name = first.name == host.name && first.address == host.name;
            let is_name = value == host.name;
            if reported.contains(&(first_entry, entry)) || (by_name && !is_name) {
                continue;
            }
            reported.push((first_entry, entry));
            let (mut problem, key, label) = report(first, host, entry);
            let span = self
                .layered
                .span(&format!("host.{first_entry}.{key}"))
                .or_else(|| self.layered.span(&format!("host.{first_entry}.name")));
            if let Some(span) = span.filter(|_| first_entry != entry) {
                problem = problem.context(span, label);
            }
            problems.push(problem);
        }
        problems
    }

    fn shared_data_ports(&self) -> Option<Problem> {
        let ports = self.cluster.taskmanager.data_ports.len()?;
        let mut users: HashMap<&str, Vec<&str>> = HashMap::new();
        for host in self.cluster.taskmanager_hosts() {
            users.entry(&host.data_address).or_default().push(&host.name);
        }
        let (address, hosts) = users.into_iter().filter(|(_, hosts)| hosts.len() > ports).min()?;
        let message = format!(
            "{} hosts share the data address {address}, but there are only {ports} data ports",
            hosts.len()
        );
        let problem = self.layered.problem_at(
            "taskmanager.data_ports",
            "config.conflict",
            message,
            format!("used by {}", hosts.join(", ")),
        );
        Some(problem.help("widen data_ports, or give the hosts different data addresses"))
    }

    /// `localhost` means another machine on every other host.
    fn unreachable_localhost(&self) -> Vec<Problem> {
        if self.cluster.hosts.iter().all(|host| host.is_local) {
            return Vec::new();
        }
        self.hosts()
            .filter(|(host, entry)| host.is_local && self.layered.span(&format!("host.{entry}.data_address")).is_none())
            .map(|(host, entry)| {
                let message = format!("the other hosts cannot reach `{}` by the address localhost", host.name);
                let key = if self.layered.span(&format!("host.{entry}.address")).is_some() {
                    "address"
                } else {
                    "name"
                };
                let path = format!("host.{entry}.{key}");
                let problem =
                    self.layered
                        .problem_at(&path, "config.conflict", message, "this machine, seen from here only");
                problem.help("add data_address = \"ADDRESS\", at which the other hosts reach this machine")
            })
            .collect()
    }

    fn timeouts(&self) -> Vec<Problem> {
        let heartbeat = self.cluster.taskmanager.heartbeat;
        let supervise = &self.cluster.supervise;
        let orders = [
            Order {
                longer: ("taskmanager.heartbeat.timeout", heartbeat.timeout),
                shorter: ("taskmanager.heartbeat.interval", heartbeat.interval),
                factor: 2,
                why: "one lost sign of life must not count as a death",
            },
            Order {
                longer: ("supervise.death_timeout", supervise.death_timeout),
                shorter: ("taskmanager.heartbeat.timeout", heartbeat.timeout),
                factor: 1,
                why: "a TaskManager must not end itself before the JobManager has given it up",
            },
            Order {
                longer: ("taskmanager.start_timeout", self.cluster.taskmanager.start_timeout),
                shorter: ("ssh.connect_timeout", self.cluster.ssh.connect_timeout),
                factor: 1,
                why: "starting a TaskManager includes connecting to its host",
            },
        ];
        orders.iter().filter_map(|order| order.check(self.layered)).collect()
    }
}

/// Two durations of which one must be longer than a multiple of the other.
struct Order {
    longer: (&'static str, Duration),
    shorter: (&'static str, Duration),
    factor: u32,
    why: &'static str,
}

impl Order {
    fn check(&self, layered: &Layered) -> Option<Problem> {
        let (long_path, long) = self.longer;
        let (short_path, short) = self.shorter;
        let limit = short.saturating_mul(self.factor);
        if long > limit || !layered.good(&[long_path, short_path]) {
            return None;
        }
        let times = if self.factor == 1 {
            String::new()
        } else {
            format!("{} x ", self.factor)
        };
        let message = format!("`{long_path}` must be longer than {times}`{short_path}`");
        let label = format!("not longer than {}", humantime::format_duration(limit));
        // The mark goes to the value somebody set; if both are built-in there is no problem.
        let path = if layered.span(long_path).is_some() || layered.span(short_path).is_none() {
            long_path
        } else {
            short_path
        };
        let label = if path == long_path {
            label
        } else {
            format!("`{long_path}` is {}", humantime::format_duration(long))
        };
        let mut problem = layered.problem_at(path, "config.bad-value", message, label);
        if path == long_path
            && let Some(span) = layered.span(short_path)
        {
            problem = problem.context(span, "with this");
        }
        Some(problem.help(format!("{}: more than {}", self.why, humantime::format_duration(limit))))
    }
}

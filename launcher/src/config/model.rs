//! The inventory as the rest of flinkctl sees it: complete, ranges expanded, precedence applied.
//!
//! Plain data, serializable: the launcher ships a [`Cluster`] to its JobManager, which starts TaskManagers by it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::leaf::{HostKeys, Mtu, Placement, PortRange};

/// A cluster: its hosts and the settings they share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cluster {
    /// Name of the cluster; part of paths and process tags.
    pub(crate) name: String,
    /// How hosts are reached.
    pub(crate) ssh: Ssh,
    /// The hosts in the order of the file. Never empty.
    pub(crate) hosts: Vec<Host>,
    /// Settings of the JobManager.
    pub(crate) jobmanager: JobManager,
    /// Settings of TaskManagers.
    pub(crate) taskmanager: TaskManager,
    /// Settings of the cluster's certificates.
    pub(crate) tls: Tls,
    /// How processes are watched and ended.
    pub(crate) supervise: Supervise,
}

/// How hosts are reached. What is `None` is left to the user's ssh configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ssh {
    /// ssh configuration file to include.
    pub(crate) config_file: String,
    /// Jump hosts, `[user@]host[:port]`, in the order of the hops.
    pub(crate) jump: Vec<String>,
    /// What to do with unknown host keys.
    pub(crate) host_keys: HostKeys,
    /// File of known host keys.
    pub(crate) known_hosts: Option<String>,
    /// Time for the connection up to the key exchange.
    pub(crate) connect_timeout: Duration,
    /// Time for the login after that.
    pub(crate) auth_timeout: Duration,
    /// Interval of keep-alive probes; three unanswered ones end a connection.
    pub(crate) keepalive: Duration,
    /// How many hosts are worked on at once.
    pub(crate) concurrency: u32,
    /// How many logins run at once against one sshd (a jump host counts for all behind it).
    pub(crate) concurrency_per_endpoint: u32,
    /// How many uploads run at once.
    pub(crate) uploads: u32,
    /// Further ssh options, as in ssh_config(5).
    pub(crate) options: BTreeMap<String, String>,
}

/// One host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Host {
    /// Its name in every message; unique.
    pub(crate) name: String,
    /// Where ssh connects to; no brackets around an IPv6 literal.
    pub(crate) address: String,
    /// Where other hosts reach its data plane and control plane; no brackets around an IPv6 literal.
    pub(crate) data_address: String,
    /// Whether processes are started directly, without SSH: its address is `localhost`.
    pub(crate) is_local: bool,
    /// What may run here.
    pub(crate) roles: Roles,
    /// The `[groups.X]` it takes values from.
    pub(crate) group: Option<String>,
    /// Slots of its TaskManager.
    pub(crate) slots: u32,
    /// Environment of the processes started here.
    pub(crate) env: BTreeMap<String, String>,
    /// Login name.
    pub(crate) user: Option<String>,
    /// Port of its sshd.
    pub(crate) port: Option<u16>,
    /// Private key file.
    pub(crate) identity_file: Option<String>,
    /// Directory of flinkctl on this host; may begin with `~/`, the login's home there.
    pub(crate) base_dir: String,
    /// TMPDIR of the workers on this host.
    pub(crate) tmp_dir: String,
}

/// What may run on a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Roles {
    /// The JobManager.
    pub(crate) jobmanager: bool,
    /// A TaskManager.
    pub(crate) taskmanager: bool,
}

/// Settings of the JobManager.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct JobManager {
    /// UDP port of its control plane; 0 = any.
    pub(crate) rpc_port: u16,
}

/// Settings of TaskManagers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TaskManager {
    /// At most so many at once; `None`: one on each host with the role.
    pub(crate) max: Option<u32>,
    /// How long one without a job is kept.
    pub(crate) idle_timeout: Duration,
    /// How long one may take from the request to its registration.
    pub(crate) start_timeout: Duration,
    /// How its life is watched.
    pub(crate) heartbeat: Heartbeat,
    /// UDP ports of the data plane.
    pub(crate) data_ports: PortRange,
    /// How slots are chosen.
    pub(crate) placement: Placement,
    /// MTU that the network between the hosts carries.
    pub(crate) mtu: Mtu,
}

/// How the life of a TaskManager is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Heartbeat {
    /// Between two signs of life.
    pub(crate) interval: Duration,
    /// Silence after which it counts as dead.
    pub(crate) timeout: Duration,
}

/// Settings of the cluster's certificates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tls {
    /// How long they are valid.
    pub(crate) validity: Duration,
}

/// How processes are watched and ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Supervise {
    /// After so long without a JobManager a TaskManager ends itself.
    pub(crate) death_timeout: Duration,
    /// From SIGTERM to SIGKILL.
    pub(crate) stop_grace: Duration,
}

impl Cluster {
    /// The host of the JobManager.
    ///
    /// # Panics
    /// Never for a cluster made by this module: it has exactly one host with the role.
    pub(crate) fn jobmanager_host(&self) -> &Host {
        self.hosts
            .iter()
            .find(|host| host.roles.jobmanager)
            .or_else(|| self.hosts.first())
            .expect("an inventory without hosts is refused when it is loaded")
    }

    /// The hosts that may run a TaskManager.
    pub(crate) fn taskmanager_hosts(&self) -> impl Iterator<Item = &Host> {
        self.hosts.iter().filter(|host| host.roles.taskmanager)
    }

    /// The host called `name`.
    pub(crate) fn host(&self, name: &str) -> Option<&Host> {
        self.hosts.iter().find(|host| host.name == name)
    }

    /// How many TaskManagers there may be at once.
    pub(crate) fn max_taskmanagers(&self) -> usize {
        let hosts = self.taskmanager_hosts().count();
        self.taskmanager
            .max
            .map_or(hosts, |max| hosts.min(usize::try_from(max).unwrap_or(hosts)))
    }

    /// How many slots there can be at once: those of the largest TaskManagers, as many as there may be.
    pub(crate) fn total_slots(&self) -> u32 {
        let mut slots: Vec<u32> = self.taskmanager_hosts().map(|host| host.slots).collect();
        slots.sort_unstable_by(|left, right| right.cmp(left));
        slots
            .iter()
            .take(self.max_taskmanagers())
            .fold(0, |sum, slots| sum.saturating_add(*slots))
    }
}

impl Host {
    /// The roles as words, for tables.
    pub(crate) fn role_names(&self) -> String {
        match (self.roles.jobmanager, self.roles.taskmanager) {
            (true, true) => "jobmanager,taskmanager",
            (true, false) => "jobmanager",
            (false, true) => "taskmanager",
            (false, false) => "-",
        }
        .to_owned()
    }
}

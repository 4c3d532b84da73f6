//! cluster.toml as it is written: strict serde types, one field per key.
//!
//! They are read after the built-in defaults, the file, variables and `-D` were laid over each other, so whatever has
//! a default is simply there. Names, defaults and descriptions of the keys live in `schema`; a test keeps the two together.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::leaf::{
    Address, AnyPort, ClusterName, Concurrency, Count, HostKeys, HostName, HostPath, JumpList, Line, LineMap, Mtu,
    Placement, Port, PortRange, RoleList, SchemaVersion, Slots, Span, UserName,
};

/// The whole file.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) schema: SchemaVersion,
    pub(super) cluster: Cluster,
    pub(super) ssh: Ssh,
    pub(super) dirs: Dirs,
    pub(super) defaults: Defaults,
    #[serde(default)]
    pub(super) groups: BTreeMap<String, Group>,
    #[serde(default)]
    pub(super) host: Vec<Host>,
    pub(super) jobmanager: JobManager,
    pub(super) taskmanager: TaskManager,
    pub(super) tls: Tls,
    pub(super) supervise: Supervise,
}

/// `[cluster]`
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cluster {
    pub(super) name: ClusterName,
}

/// `[ssh]`
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ssh {
    pub(super) user: Option<UserName>,
    pub(super) port: Option<Port>,
    pub(super) identity_file: Option<HostPath>,
    pub(super) config_file: HostPath,
    pub(super) jump: JumpList,
    pub(super) host_keys: HostKeys,
    pub(super) known_hosts: Option<HostPath>,
    pub(super) connect_timeout: Span,
    pub(super) auth_timeout: Span,
    pub(super) keepalive: Span,
    pub(super) concurrency: Concurrency,
    pub(super) concurrency_per_endpoint: Concurrency,
    pub(super) uploads: Concurrency,
    #[serde(default)]
    pub(super) options: LineMap,
}

/// `[dirs]`
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Dirs {
    pub(super) base: HostPath,
    pub(super) tmp: HostPath,
}

/// `[defaults]`
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Defaults {
    pub(super) slots: Slots,
    #[serde(default)]
    pub(super) env: LineMap,
}

/// `[groups.X]`
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Group {
    pub(super) slots: Option<Slots>,
    #[serde(default)]
    pub(super) env: LineMap,
}

/// `[[host]]`
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Host {
    pub(super) name: HostName,
    pub(super) address: Option<Address>,
    pub(super) data_address: Option<Address>,
    pub(super) roles: Option<RoleList>,
    pub(super) group: Option<Line>,
    pub(super) slots: Option<Slots>,
    #[serde(default)]
    pub(super) env: LineMap,
    #[serde(default)]
    pub(super) ssh: HostSsh,
    pub(super) workdir: Option<HostPath>,
}

/// `ssh = { ... }` of a host
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HostSsh {
    pub(super) port: Option<Port>,
    pub(super) user: Option<UserName>,
    pub(super) identity_file: Option<HostPath>,
}

/// `[jobmanager]`
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JobManager {
    pub(super) rpc_port: AnyPort,
}

/// `[taskmanager]`
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TaskManager {
    pub(super) max: Option<Count>,
    pub(super) idle_timeout: Span,
    pub(super) start_timeout: Span,
    pub(super) heartbeat: Heartbeat,
    pub(super) data_ports: PortRange,
    pub(super) placement: Placement,
    pub(super) mtu: Mtu,
}

/// `heartbeat = { ... }`
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Heartbeat {
    pub(super) interval: Span,
    pub(super) timeout: Span,
}

/// `[tls]`
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tls {
    pub(super) validity: Span,
}

/// `[supervise]`
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Supervise {
    pub(super) death_timeout: Span,
    pub(super) stop_grace: Span,
}

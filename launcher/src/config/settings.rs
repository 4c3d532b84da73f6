//! Every value in force with where it came from: what `config show` shows.

use toml::Value;

use super::layers::{Layered, Origin};
use super::model::Host;
use super::schema;

/// A value in force and where it came from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Setting {
    /// The host it belongs to; `None` for settings of the cluster.
    pub(crate) host: Option<String>,
    /// Dotted path of the key.
    pub(crate) key: String,
    /// The value; `None`: not set, left to ssh or to the number of hosts.
    pub(crate) value: Option<Value>,
    /// Where it came from.
    pub(crate) origin: Origin,
}

/// The settings outside of hosts, in the order of the schema.
pub(super) fn of_cluster(layered: &Layered) -> Vec<Setting> {
    let mut paths = Vec::new();
    schema::each_setting(&mut |path, _| paths.push(path.to_owned()));
    for map in ["ssh.options", "defaults.env"] {
        if let Some(Value::Table(table)) = value_at(layered, map) {
            paths.extend(table.keys().map(|name| format!("{map}.{name}")));
        }
    }
    let setting = |key: String| {
        let (value, origin) = (value_at(layered, &key), layered.origin(&key));
        Setting {
            host: None,
            key,
            value,
            origin,
        }
    };
    paths.into_iter().map(setting).collect()
}

/// The settings of a host that stems from `[[host]]` number `index`.
pub(super) fn of_host(layered: &Layered, host: &Host, index: usize) -> Vec<Setting> {
    let of = OfHost { layered, host, index };
    let text = |text: &str| Some(Value::String(text.to_owned()));
    let roles = host
        .role_names()
        .split(',')
        .map(|role| Value::String(role.to_owned()))
        .collect();
    let mut settings = vec![
        of.own("name", text(&host.name)),
        of.follower("address", "name", text(&host.address)),
        of.follower("data_address", "address", text(&host.data_address)),
        of.own("roles", Some(Value::Array(roles))),
        of.own("group", host.group.as_deref().and_then(text)),
        of.layered("slots", Some(Value::Integer(host.slots.into()))),
    ];
    settings.extend(
        host.env
            .iter()
            .map(|(name, value)| of.layered(&format!("env.{name}"), text(value))),
    );
    let port = host.port.map(|port| Value::Integer(port.into()));
    settings.extend([
        of.shared("ssh.user", "ssh.user", host.user.as_deref().and_then(text)),
        of.shared("ssh.port", "ssh.port", port),
        of.shared(
            "ssh.identity_file",
            "ssh.identity_file",
            host.identity_file.as_deref().and_then(text),
        ),
        of.shared("workdir", "dirs.base", text(&host.base_dir)),
    ]);
    settings
}

/// Finds out which of the layers gave a host its values.
struct OfHost<'a> {
    layered: &'a Layered,
    host: &'a Host,
    index: usize,
}

impl OfHost<'_> {
    /// A value that only the host's own entry can set.
    fn own(&self, key: &str, value: Option<Value>) -> Setting {
        self.first_set(key, value, Origin::BuiltIn, &[])
    }

    /// A value that follows another one unless the entry sets it.
    fn follower(&self, key: &str, other: &'static str, value: Option<Value>) -> Setting {
        self.first_set(key, value, Origin::Follows(other), &[])
    }

    /// A value of the entry, else of a setting of the whole cluster.
    fn shared(&self, key: &str, of_all: &str, value: Option<Value>) -> Setting {
        self.first_set(key, value, Origin::BuiltIn, &[of_all.to_owned()])
    }

    /// A value of the entry, else of its group, else of the defaults.
    fn layered(&self, key: &str, value: Option<Value>) -> Setting {
        let group = self.host.group.iter().map(|group| format!("groups.{group}.{key}"));
        let paths: Vec<String> = group.chain([format!("defaults.{key}")]).collect();
        self.first_set(key, value, Origin::BuiltIn, &paths)
    }

    fn first_set(&self, key: &str, value: Option<Value>, otherwise: Origin, fallbacks: &[String]) -> Setting {
        let own = format!("host.{}.{key}", self.index);
        let origin = std::iter::once(&own)
            .chain(fallbacks)
            .find_map(|path| self.layered.origins.get(path));
        let origin = origin.cloned().unwrap_or(otherwise);
        Setting {
            host: Some(self.host.name.clone()),
            key: key.to_owned(),
            value,
            origin,
        }
    }
}

fn value_at(layered: &Layered, path: &str) -> Option<Value> {
    let mut segments = path.split('.');
    let first = layered.table.get(segments.next()?)?;
    segments.try_fold(first, |value, segment| value.get(segment)).cloned()
}

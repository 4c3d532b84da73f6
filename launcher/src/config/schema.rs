//! What keys cluster.toml knows: their place, kind of value, built-in default and description.
//!
//! One declarative table serves the walk that finds every mistake at once, the defaults, the names of the
//! FLINKCTL_* variables, `-D`, and the completeness test of the annotated cluster.toml.

use toml::de::{DeValue, ValueDeserializer};
use toml::{Spanned, Value};

use super::leaf::{
    Address, AnyPort, ClusterName, Concurrency, Count, HostKeys, HostName, HostPath, JumpList, Leaf, Line, Mtu,
    Placement, Port, PortRange, RoleList, SchemaVersion, Slots, Span, UserName, is_env_name, is_ssh_option,
};

/// One key.
#[derive(Debug)]
pub(super) struct Key {
    /// Its name.
    pub(super) name: &'static str,
    /// What stands behind it.
    pub(super) shape: Shape,
}

/// What stands behind a key.
#[derive(Debug)]
pub(super) enum Shape {
    /// One value.
    Leaf(LeafKey),
    /// `name = "text"` pairs with free names.
    Map(MapKey),
    /// A table with fixed keys.
    Table(&'static [Key]),
    /// A table of such tables under free names.
    TableOf(&'static [Key]),
    /// An array of such tables.
    ListOf(&'static [Key]),
}

/// A key with one value.
#[derive(Debug)]
pub(super) struct LeafKey {
    /// The built-in value, as TOML.
    pub(super) default: Option<&'static str>,
    /// To be read after "expected".
    pub(super) expects: &'static str,
    /// The only values, if they are few.
    pub(super) choices: &'static [&'static str],
    /// Whether the table makes no sense without it.
    pub(super) required: bool,
    toml_type: &'static str,
    read: fn(Spanned<DeValue<'_>>) -> Result<Value, String>,
}

/// A key with free names below it.
#[derive(Debug)]
pub(super) struct MapKey {
    /// Whether a name may stand there.
    pub(super) check_name: fn(&str) -> Result<(), String>,
    /// The kind of the values.
    pub(super) value: LeafKey,
}

impl LeafKey {
    /// Reads a value of this kind, or says in a few words what is wrong with it.
    pub(super) fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<Value, String> {
        let found = value.get_ref().type_str();
        if found != self.toml_type {
            let mut text = format!("expected {}, found {} {found}", self.expects, article(found));
            if self.toml_type == "string" && !matches!(found, "array" | "table") {
                text.push_str(" (put it in quotes)");
            }
            return Err(text);
        }
        (self.read)(value.clone()).map_err(|reason| match reason.as_str() {
            "" => format!("expected {}", self.expects),
            reason => format!("{reason}; expected {}", self.expects),
        })
    }

    /// Reads a value that was written without TOML's quotes, in a `-D` option or a variable.
    pub(super) fn read_text(&self, text: &str) -> Result<Value, String> {
        let string = |text: &str| Spanned::new(0..text.len(), DeValue::String(text.to_owned().into()));
        let parsed = DeValue::parse(text).ok();
        match (self.toml_type, parsed) {
            ("string", Some(value)) if value.get_ref().is_str() => self.read(&value),
            ("string", _) => self.read(&string(text)),
            ("array", None) => {
                let mut list = toml::de::DeArray::new();
                for piece in super::ranges::split_list(text) {
                    list.push(string(piece));
                }
                self.read(&Spanned::new(0..text.len(), DeValue::Array(list)))
            }
            (_, Some(value)) => self.read(&value),
            (_, None) => Err(format!("expected {}", self.expects)),
        }
    }
}

/// The article of a noun in messages.
pub(super) fn article(noun: &str) -> &'static str {
    if noun.starts_with(['a', 'e', 'i', 'o', 'u']) {
        "an"
    } else {
        "a"
    }
}

fn read<T: Leaf>(value: Spanned<DeValue<'_>>) -> Result<Value, String> {
    use serde::Deserialize as _;
    T::deserialize(ValueDeserializer::from(value.clone())).map_err(|error| reason_of(error.message()))?;
    Value::deserialize(ValueDeserializer::from(value)).map_err(|error| error.message().to_owned())
}

/// The part of serde's message that says more than "expected ..." does.
fn reason_of(message: &str) -> String {
    if message.starts_with("unknown variant") {
        String::new()
    } else {
        message.trim().to_owned()
    }
}

const fn leaf_key<T: Leaf>(default: Option<&'static str>) -> LeafKey {
    LeafKey {
        default,
        expects: T::EXPECTS,
        choices: T::CHOICES,
        required: false,
        toml_type: T::TOML_TYPE,
        read: read::<T>,
    }
}

const fn with<T: Leaf>(name: &'static str, default: &'static str) -> Key {
    Key {
        name,
        shape: Shape::Leaf(leaf_key::<T>(Some(default))),
    }
}

const fn open<T: Leaf>(name: &'static str) -> Key {
    Key {
        name,
        shape: Shape::Leaf(leaf_key::<T>(None)),
    }
}

const fn required<T: Leaf>(name: &'static str) -> Key {
    let mut leaf = leaf_key::<T>(None);
    leaf.required = true;
    Key {
        name,
        shape: Shape::Leaf(leaf),
    }
}

const fn map(name: &'static str, check_name: fn(&str) -> Result<(), String>) -> Key {
    Key {
        name,
        shape: Shape::Map(MapKey {
            check_name,
            value: leaf_key::<Line>(None),
        }),
    }
}

const fn table(name: &'static str, keys: &'static [Key]) -> Key {
    Key {
        name,
        shape: Shape::Table(keys),
    }
}

const SSH: &[Key] = &[
    open::<UserName>("user"),
    open::<Port>("port"),
    open::<HostPath>("identity_file"),
    with::<HostPath>("config_file", "\"~/.ssh/config\""),
    with::<JumpList>("jump", "[]"),
    with::<HostKeys>("host_keys", "\"accept-new\""),
    open::<HostPath>("known_hosts"),
    with::<Span>("connect_timeout", "\"10s\""),
    with::<Span>("auth_timeout", "\"20s\""),
    with::<Span>("keepalive", "\"15s\""),
    with::<Concurrency>("concurrency", "30"),
    with::<Concurrency>("concurrency_per_endpoint", "8"),
    with::<Concurrency>("uploads", "5"),
    map("options", is_ssh_option),
];

const HOST: &[Key] = &[
    required::<HostName>("name"),
    open::<Address>("address"),
    open::<Address>("data_address"),
    open::<RoleList>("roles"),
    open::<Line>("group"),
    open::<Slots>("slots"),
    map("env", is_env_name),
    table(
        "ssh",
        &[
            open::<Port>("port"),
            open::<UserName>("user"),
            open::<HostPath>("identity_file"),
        ],
    ),
    open::<HostPath>("workdir"),
];

const TASKMANAGER: &[Key] = &[
    open::<Count>("max"),
    with::<Span>("idle_timeout", "\"30s\""),
    with::<Span>("start_timeout", "\"60s\""),
    table(
        "heartbeat",
        &[with::<Span>("interval", "\"500ms\""), with::<Span>("timeout", "\"3s\"")],
    ),
    with::<PortRange>("data_ports", "\"0\""),
    with::<Placement>("placement", "\"spread\""),
    with::<Mtu>("mtu", "1500"),
];

/// Every key of cluster.toml.
pub(super) const ROOT: &[Key] = &[
    with::<SchemaVersion>("schema", "1"),
    table("cluster", &[with::<ClusterName>("name", "\"default\"")]),
    table("ssh", SSH),
    table(
        "dirs",
        &[
            with::<HostPath>("base", "\"~/.local/share/flinkctl\""),
            with::<HostPath>("tmp", "\"/var/tmp\""),
        ],
    ),
    table("defaults", &[with::<Slots>("slots", "1"), map("env", is_env_name)]),
    Key {
        name: "groups",
        shape: Shape::TableOf(&[open::<Slots>("slots"), map("env", is_env_name)]),
    },
    Key {
        name: "host",
        shape: Shape::ListOf(HOST),
    },
    table("jobmanager", &[with::<AnyPort>("rpc_port", "0")]),
    table("taskmanager", TASKMANAGER),
    table("tls", &[with::<Span>("validity", "\"30d\"")]),
    table(
        "supervise",
        &[
            with::<Span>("death_timeout", "\"60s\""),
            with::<Span>("stop_grace", "\"10s\""),
        ],
    ),
];

/// Calls `visit` with the dotted path of every single-valued key outside of groups and hosts.
pub(super) fn each_setting(visit: &mut dyn FnMut(&str, &'static LeafKey)) {
    fn walk(prefix: &str, keys: &'static [Key], visit: &mut dyn FnMut(&str, &'static LeafKey)) {
        for key in keys {
            let path = if prefix.is_empty() {
                key.name.to_owned()
            } else {
                format!("{prefix}.{}", key.name)
            };
            match &key.shape {
                Shape::Leaf(leaf) => visit(&path, leaf),
                Shape::Table(keys) => walk(&path, keys, visit),
                Shape::Map(_) | Shape::TableOf(_) | Shape::ListOf(_) => {}
            }
        }
    }
    walk("", ROOT, visit);
}

/// The variable that overrides a setting.
pub(super) fn variable_of(path: &str) -> String {
    format!("FLINKCTL_{}", path.replace('.', "_").to_ascii_uppercase())
}

/// What a dotted path of `-D` leads to.
pub(super) enum Target {
    /// A single-valued key, or one entry of a map.
    Leaf(&'static LeafKey),
    /// An entry whose name may not stand there, and why.
    BadName(String),
    /// Nothing.
    Unknown,
}

/// Follows a dotted path, such as `taskmanager.heartbeat.interval`, `defaults.env.RUST_LOG` or `groups.big.slots`.
pub(super) fn find(path: &str) -> Target {
    let mut keys = ROOT;
    let mut segments = path.split('.');
    while let Some(segment) = segments.next() {
        let Some(key) = keys.iter().find(|key| key.name == segment) else {
            return Target::Unknown;
        };
        match &key.shape {
            Shape::Leaf(leaf) if segments.next().is_none() => return Target::Leaf(leaf),
            Shape::Leaf(_) | Shape::ListOf(_) => return Target::Unknown,
            Shape::Map(map) => {
                let (Some(name), None) = (segments.next(), segments.next()) else {
                    return Target::Unknown;
                };
                return match (map.check_name)(name) {
                    Ok(()) => Target::Leaf(&map.value),
                    Err(reason) => Target::BadName(reason),
                };
            }
            Shape::Table(inner) => keys = inner,
            Shape::TableOf(inner) => {
                if segments.next().is_none() {
                    return Target::Unknown;
                }
                keys = inner;
            }
        }
    }
    Target::Unknown
}

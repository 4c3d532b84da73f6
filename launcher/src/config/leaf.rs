//! The values that keys of cluster.toml take: one type per kind, each strict and able to say what it expects.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// A kind of value.
pub(crate) trait Leaf: DeserializeOwned {
    /// What is expected, to be read after "expected".
    const EXPECTS: &'static str;
    /// The only values, where there are few.
    const CHOICES: &'static [&'static str] = &[];
    /// Name of the TOML type, as [`toml::de::DeValue::type_str`] has it.
    const TOML_TYPE: &'static str = "string";
}

/// A string type that is checked when it is made.
macro_rules! checked_string {
    ($(#[$doc:meta])* $name:ident, $expects:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
        #[serde(try_from = "String")]
        pub(crate) struct $name(pub(crate) String);

        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                let check: fn(&str) -> Result<(), String> = $check;
                check(&text).map(|()| Self(text))
            }
        }

        impl Leaf for $name {
            const EXPECTS: &'static str = $expects;
        }
    };
}

/// An integer type with limits.
macro_rules! checked_integer {
    ($(#[$doc:meta])* $name:ident, $inner:ty, $range:expr, $expects:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
        #[serde(try_from = "i64")]
        pub(crate) struct $name(pub(crate) $inner);

        impl TryFrom<i64> for $name {
            type Error = String;

            fn try_from(number: i64) -> Result<Self, String> {
                match <$inner>::try_from(number) {
                    Ok(inner) if ($range).contains(&inner) => Ok(Self(inner)),
                    _ => Err(String::new()),
                }
            }
        }

        impl Leaf for $name {
            const EXPECTS: &'static str = $expects;
            const TOML_TYPE: &'static str = "integer";
        }
    };
}

/// A choice between a few words.
macro_rules! choice {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal),+ $(,)? }, $expects:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
        pub(crate) enum $name {
            $($(#[$variant_doc])* #[serde(rename = $word)] $variant,)+
        }

        impl Leaf for $name {
            const EXPECTS: &'static str = $expects;
            const CHOICES: &'static [&'static str] = &[$($word),+];
        }
    };
}

checked_integer!(
    /// Version of the file's schema.
    SchemaVersion, u32, 1..=1, "1, the only schema this flinkctl knows");
checked_integer!(
    /// A port that is really used.
    Port, u16, 1..=u16::MAX, "a port from 1 to 65535");
checked_integer!(
    /// A port to bind, where 0 means any.
    AnyPort, u16, 0..=u16::MAX, "a port from 0 (any) to 65535");
checked_integer!(
    /// Slots of a TaskManager.
    Slots, u32, 1..=1024, "a number of slots from 1 to 1024");
checked_integer!(
    /// How many things happen at once.
    Concurrency, u32, 1..=1000, "a number from 1 to 1000");
checked_integer!(
    /// How many TaskManagers.
    Count, u32, 1..=10_000, "a number from 1 to 10000");

checked_string!(
/// Name of a cluster: it becomes part of paths, unit names and process tags.
ClusterName, "1 to 32 characters of a-z, 0-9 and -", |text| {
    let fits = (1..=32).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    fits.then_some(()).ok_or_else(String::new)
});
checked_string!(
/// Name of a host, or a range of names.
HostName, "a host name of letters, digits, `.`, `_` and `-`, with ranges such as tm[01-16]", |text| {
    let fits = !text.starts_with(['-', '.']) && !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_[],".contains(&byte));
    fits.then_some(()).ok_or_else(String::new)?;
    super::ranges::expand(text).map(drop).map_err(|error| error.to_string())
});
checked_string!(
/// Address of a host, or a range of addresses.
Address, "a host name or an IP address, with ranges such as 10.0.0.[1-16]", |text| {
    let fits = !text.starts_with('-') && !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:%[],".contains(&byte));
    fits.then_some(()).ok_or_else(String::new)?;
    super::ranges::expand_address(text).map(drop).map_err(|error| error.to_string())
});
checked_string!(
/// A login name.
UserName, "a login name", |text| {
    let fits = !text.starts_with('-') && !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-$\\@+".contains(&byte));
    fits.then_some(()).ok_or_else(String::new)
});
checked_string!(
/// A jump host.
JumpHost, "a jump host as [user@]host[:port]", |text| {
    let fits = !text.starts_with('-') && !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:%[]@".contains(&byte));
    fits.then_some(()).ok_or_else(String::new)
});
checked_string!(
/// A path that means the same on whichever host it is used: absolute, or in the login's home.
HostPath, "an absolute path, or one that begins with ~/", |text| {
    if text.chars().any(char::is_control) {
        return Err("control characters in a path".to_owned());
    }
    (text.starts_with('/') || text.starts_with("~/") || text == "~").then_some(()).ok_or_else(String::new)
});
checked_string!(
/// One line of text.
Line, "one line of text", |text| {
    (!text.chars().any(char::is_control)).then_some(()).ok_or_else(|| "control characters in the text".to_owned())
});

choice!(
    /// What to do with host keys that are not on record.
    HostKeys {
        /// Refuse them.
        Strict = "strict",
        /// Record them; refuse changed ones.
        AcceptNew = "accept-new",
        /// Do not look at them.
        Off = "off",
    }, "strict, accept-new or off");
choice!(
    /// What runs on a host.
    Role {
        /// The JobManager.
        JobManager = "jobmanager",
        /// A TaskManager.
        TaskManager = "taskmanager",
    }, "jobmanager or taskmanager");
choice!(
    /// How slots are chosen.
    Placement {
        /// Evenly over the TaskManagers.
        Spread = "spread",
        /// On as few TaskManagers as possible.
        Pack = "pack",
    }, "spread or pack");

/// A list of roles.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "Vec<Role>")]
pub(crate) struct RoleList(pub(crate) Vec<Role>);

impl TryFrom<Vec<Role>> for RoleList {
    type Error = String;

    fn try_from(roles: Vec<Role>) -> Result<Self, String> {
        if roles.is_empty() {
            Err("a host without a role would do nothing".to_owned())
        } else {
            Ok(Self(roles))
        }
    }
}

impl Leaf for RoleList {
    const EXPECTS: &'static str = "a list of jobmanager and taskmanager";
    const CHOICES: &'static [&'static str] = Role::CHOICES;
    const TOML_TYPE: &'static str = "array";
}

/// A list of jump hosts.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct JumpList(pub(crate) Vec<JumpHost>);

impl Leaf for JumpList {
    const EXPECTS: &'static str = "a list of jump hosts, each [user@]host[:port]";
    const TOML_TYPE: &'static str = "array";
}

/// The largest packet of the network between the hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "i64", into = "i64")]
pub(crate) enum Mtu {
    /// Plain Ethernet, and every network that makes no promise.
    Ethernet,
    /// Jumbo frames.
    Jumbo,
}

impl Mtu {
    /// The MTU in bytes.
    pub(crate) fn bytes(self) -> u16 {
        match self {
            Self::Ethernet => 1500,
            Self::Jumbo => 9000,
        }
    }
}

impl TryFrom<i64> for Mtu {
    type Error = String;

    fn try_from(number: i64) -> Result<Self, String> {
        match number {
            1500 => Ok(Self::Ethernet),
            9000 => Ok(Self::Jumbo),
            _ => Err(String::new()),
        }
    }
}

impl From<Mtu> for i64 {
    fn from(mtu: Mtu) -> Self {
        Self::from(mtu.bytes())
    }
}

impl Leaf for Mtu {
    const EXPECTS: &'static str = "1500 or 9000";
    const TOML_TYPE: &'static str = "integer";
}

/// A stretch of time, written as humantime reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Span(pub(crate) Duration);

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match humantime::parse_duration(&text) {
            Ok(span) if span.is_zero() => Err("the duration must be longer than nothing".to_owned()),
            Ok(span) => Ok(Self(span)),
            // The list of all units that follows is longer than the line with the mark.
            Err(error) => Err(error
                .to_string()
                .split(", supported")
                .next()
                .unwrap_or_default()
                .to_owned()),
        }
    }
}

impl Serialize for Span {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(self.0))
    }
}

impl Leaf for Span {
    const EXPECTS: &'static str = "a duration such as \"500ms\", \"30s\" or \"10m\"";
}

/// UDP ports to choose from; the whole ephemeral range when both ends are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct PortRange {
    /// The lowest port; 0 = any port.
    pub(crate) first: u16,
    /// The highest port, included.
    pub(crate) last: u16,
}

impl PortRange {
    /// Whether the system may choose.
    pub(crate) fn is_any(self) -> bool {
        self.first == 0
    }

    /// How many ports there are; `None` when the system may choose.
    pub(crate) fn len(self) -> Option<usize> {
        (!self.is_any()).then(|| usize::from(self.last - self.first) + 1)
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

impl From<PortRange> for String {
    fn from(range: PortRange) -> Self {
        range.to_string()
    }
}

impl TryFrom<String> for PortRange {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (first, last) = text.split_once('-').unwrap_or((&text, &text));
        let port = |text: &str| text.trim().parse::<u16>().map_err(|_| format!("`{text}` is no port"));
        let range = Self {
            first: port(first)?,
            last: port(last)?,
        };
        if range.first > range.last {
            return Err(format!("the range ends before it begins: {first} > {last}"));
        }
        if range.first == 0 && range.last != 0 {
            return Err("port 0 cannot begin a range".to_owned());
        }
        Ok(range)
    }
}

impl Leaf for PortRange {
    const EXPECTS: &'static str = "ports such as \"40000-40099\", or \"0\" for any";
}

/// `key = "value"` pairs with keys of the given sort.
pub(crate) type LineMap = BTreeMap<String, Line>;

/// Whether `name` can be set in an environment by us: our own tags are not for users.
pub(crate) fn is_env_name(name: &str) -> Result<(), String> {
    let fits = !name.is_empty()
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !fits {
        return Err("expected the name of an environment variable".to_owned());
    }
    if name.starts_with("FLINKCTL") {
        return Err("variables that begin with FLINKCTL are flinkctl's own".to_owned());
    }
    Ok(())
}

/// Whether `name` is an option of ssh that is not ours to set: the launcher's own connections depend on these.
pub(crate) fn is_ssh_option(name: &str) -> Result<(), String> {
    const OURS: [&str; 11] = [
        "BatchMode",
        "ControlMaster",
        "ControlPath",
        "ControlPersist",
        "Host",
        "Include",
        "LocalCommand",
        "Match",
        "PermitLocalCommand",
        "RemoteCommand",
        "StrictHostKeyChecking",
    ];
    if let Some(option) = OURS.iter().find(|option| option.eq_ignore_ascii_case(name)) {
        return Err(format!("flinkctl sets {option} itself"));
    }
    let fits = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if fits {
        Ok(())
    } else {
        Err("expected the name of an option of ssh_config(5)".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_ranges() {
        let cases = [
            ("0", Ok((0, 0))),
            ("40000-40099", Ok((40_000, 40_099))),
            ("7", Ok((7, 7))),
            ("9-8", Err(())),
            ("0-10", Err(())),
            ("x", Err(())),
            ("1-70000", Err(())),
            ("", Err(())),
        ];
        for (text, expected) in cases {
            let range = PortRange::try_from(text.to_owned())
                .map(|range| (range.first, range.last))
                .map_err(drop);
            assert_eq!(range, expected, "{text}");
        }
        assert_eq!(PortRange { first: 0, last: 0 }.len(), None);
        assert_eq!(PortRange { first: 5, last: 9 }.len(), Some(5));
    }

    #[test]
    fn nothing_that_ssh_would_take_for_an_option() {
        for text in ["-oProxyCommand=x", "", "a b", "a\nb", "a;b"] {
            assert!(Address::try_from(text.to_owned()).is_err(), "{text}");
            assert!(HostName::try_from(text.to_owned()).is_err(), "{text}");
            assert!(UserName::try_from(text.to_owned()).is_err(), "{text}");
            assert!(JumpHost::try_from(text.to_owned()).is_err(), "{text}");
        }
        assert!(Line::try_from("yes\nProxyCommand x".to_owned()).is_err());
        assert!(HostPath::try_from("/a\n/b".to_owned()).is_err());
    }

    #[test]
    fn durations_are_positive() {
        assert_eq!(Span::try_from("500ms".to_owned()), Ok(Span(Duration::from_millis(500))));
        assert!(Span::try_from("0s".to_owned()).is_err());
        assert!(Span::try_from("5 parsecs".to_owned()).is_err());
    }

    #[test]
    fn names_of_variables_and_options() {
        assert!(is_env_name("RUST_LOG").is_ok());
        assert!(is_env_name("1X").is_err());
        assert!(is_env_name("FLINKCTL_ROLE").is_err());
        assert!(is_ssh_option("GSSAPIAuthentication").is_ok());
        assert!(is_ssh_option("controlpath").is_err());
        assert!(is_ssh_option("a b").is_err());
    }
}

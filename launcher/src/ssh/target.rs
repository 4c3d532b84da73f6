//! A host as SSH sees it, and the options with which `ssh` is called for it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

/// Which host keys are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum HostKeys {
    /// Only keys that are on record.
    Strict,
    /// Unknown hosts are put on record; changed keys are refused.
    #[default]
    AcceptNew,
    /// Everything: an attacker in between is not noticed. The caller warns on every run.
    Off,
}

/// Everything that is needed to reach one host. What is not set is left to the user's ssh configuration.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SshTarget {
    /// The host's name in the inventory, for messages.
    pub name: String,
    /// Name or address to connect to; `localhost` = this machine, without SSH.
    pub address: String,
    /// Login user.
    pub user: Option<String>,
    /// Port of sshd.
    pub port: Option<u16>,
    /// Private key; `~/` is this user's home. Only this key is offered.
    pub identity_file: Option<PathBuf>,
    /// ssh configuration file in place of `~/.ssh/config` and the system's (`ssh -F`).
    pub config_file: Option<PathBuf>,
    /// Jump hosts, `[user@]host[:port]`, the first is the one that is reached directly.
    pub jump: Vec<String>,
    /// Which host keys are accepted.
    pub host_keys: HostKeys,
    /// File with known host keys.
    pub known_hosts: Option<PathBuf>,
    /// Limit for the TCP connection, the banner and the key exchange; whole seconds, at least one.
    pub connect_timeout: Duration,
    /// Limit for the login after that.
    pub auth_timeout: Duration,
    /// Interval of keep-alive questions; after three without an answer the connection is given up.
    pub keepalive: Duration,
    /// Further ssh_config settings. Those that this module sets itself win.
    pub options: BTreeMap<String, String>,
}

impl SshTarget {
    /// A target with the defaults of cluster.toml.
    #[must_use]
    pub fn new(name: impl Into<String>, address: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            address: address.into(),
            user: None,
            port: None,
            identity_file: None,
            config_file: None,
            jump: Vec::new(),
            host_keys: HostKeys::default(),
            known_hosts: None,
            connect_timeout: Duration::from_secs(10),
            auth_timeout: Duration::from_secs(20),
            keepalive: Duration::from_secs(15),
            options: BTreeMap::new(),
        }
    }

    /// Whether the host is this machine.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.address == "localhost"
    }

    /// The sshd that is meant.
    #[must_use]
    pub fn endpoint(&self) -> Endpoint {
        Endpoint {
            user: self.user.clone(),
            host: self.address.clone(),
            port: self.port,
        }
    }
}

/// `[user@]host[:port]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Login user.
    pub user: Option<String>,
    /// Name or address, an IPv6 literal without brackets.
    pub host: String,
    /// Port.
    pub port: Option<u16>,
}

/// The text names no host.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` is not [user@]host[:port]")]
pub struct InvalidTarget(pub String);

impl FromStr for Endpoint {
    type Err = InvalidTarget;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidTarget(text.to_owned());
        let (user, rest) = match text.rsplit_once('@') {
            Some((user, rest)) => (Some(user), rest),
            None => (None, text),
        };
        let (host, port) = if let Some(bracketed) = rest.strip_prefix('[') {
            let (host, after) = bracketed.split_once(']').ok_or_else(invalid)?;
            match after {
                "" => (host, None),
                _ => (host, Some(after.strip_prefix(':').ok_or_else(invalid)?)),
            }
        } else if rest.matches(':').count() == 1 {
            rest.split_once(':')
                .map_or((rest, None), |(host, port)| (host, Some(port)))
        } else {
            // None: no port. Several: an IPv6 literal without brackets.
            (rest, None)
        };
        let port = port.map(str::parse).transpose().map_err(|_| invalid())?;
        if user == Some("") || !plausible_host(host) || port == Some(0) {
            return Err(invalid());
        }
        Ok(Self {
            user: user.map(str::to_owned),
            host: host.to_owned(),
            port,
        })
    }
}

/// Keeps option injection (`-oProxyCommand=...`) and shell text out of ssh's arguments.
fn plausible_host(host: &str) -> bool {
    !host.is_empty()
        && !host.starts_with('-')
        && host
            .chars()
            .all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%'))
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        match (self.host.contains(':'), self.port) {
            (false, None) => f.write_str(&self.host),
            (false, Some(port)) => write!(f, "{}:{port}", self.host),
            (true, None) => write!(f, "[{}]", self.host),
            (true, Some(port)) => write!(f, "[{}]:{port}", self.host),
        }
    }
}

/// Replaces a leading `~/` by this user's home directory.
pub(crate) fn expand_home(path: &Path) -> PathBuf {
    match (path.strip_prefix("~"), std::env::var_os("HOME")) {
        (Ok(rest), Some(home)) => Path::new(&home).join(rest),
        _ => path.to_owned(),
    }
}

/// The arguments of a master: everything after the word `ssh`.
///
/// The first value of an ssh option wins, so the order is: what this module depends on, what cluster.toml says, and then the
/// user's own files.
pub(super) fn master_arguments(
    target: &SshTarget,
    control: &Path,
    proxy_command: Option<&str>,
) -> Result<Vec<OsString>, InvalidTarget> {
    if !plausible_host(&target.address) || target.user.as_ref().is_some_and(|user| user.starts_with('-')) {
        return Err(InvalidTarget(target.address.clone()));
    }
    let mut arguments: Vec<OsString> = Vec::new();
    if let Some(file) = &target.config_file {
        arguments.extend(["-F".into(), expand_home(file).into()]);
    }
    arguments.extend(["-M", "-N", "-T", "-x", "-a", "-S"].map(OsString::from));
    arguments.push(escape_percent(&control.to_string_lossy()).into());
    for (name, value) in own_options(target, proxy_command) {
        arguments.extend(["-o".into(), format!("{name}={value}").into()]);
    }
    for (name, value) in &target.options {
        arguments.extend(["-o".into(), format!("{name}={value}").into()]);
    }
    if let Some(file) = &target.identity_file {
        arguments.extend(["-i".into(), expand_home(file).into()]);
    }
    if let Some(user) = &target.user {
        arguments.extend(["-l".into(), user.into()]);
    }
    if let Some(port) = target.port {
        arguments.extend(["-p".into(), port.to_string().into()]);
    }
    arguments.extend(["--".into(), OsString::from(&target.address)]);
    Ok(arguments)
}

/// The ssh options that do not leave a choice to anybody's configuration.
fn own_options(target: &SshTarget, proxy_command: Option<&str>) -> Vec<(&'static str, String)> {
    let mut options = vec![
        ("ControlPersist", "no".to_owned()),
        ("PermitLocalCommand", "yes".to_owned()),
        ("LocalCommand", format!("echo {}", super::master::READY)),
        ("BatchMode", "yes".to_owned()),
        ("RemoteCommand", "none".to_owned()),
        // Forwardings that the user configured for shells would fight over their ports.
        ("ClearAllForwardings", "yes".to_owned()),
        ("LogLevel", "ERROR".to_owned()),
        ("ConnectTimeout", seconds(target.connect_timeout)),
        ("ServerAliveInterval", seconds(target.keepalive)),
        ("ServerAliveCountMax", "3".to_owned()),
    ];
    let checking = match target.host_keys {
        HostKeys::Strict => "yes",
        HostKeys::AcceptNew => "accept-new",
        HostKeys::Off => "no",
    };
    options.push(("StrictHostKeyChecking", checking.to_owned()));
    if target.host_keys == HostKeys::Off {
        options.push(("UserKnownHostsFile", "/dev/null".to_owned()));
    }
    if let Some(file) = &target.known_hosts {
        let file = escape_percent(&expand_home(file).to_string_lossy());
        options.push(("UserKnownHostsFile", format!("\"{file}\"")));
    }
    if let Some(command) = proxy_command {
        options.push(("ProxyCommand", command.to_owned()));
    }
    if target.identity_file.is_some() {
        options.push(("IdentitiesOnly", "yes".to_owned()));
    }
    options
}

fn seconds(duration: Duration) -> String {
    let rounded = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    rounded.max(1).to_string()
}

/// ssh expands `%h` and the like in paths.
pub(super) fn escape_percent(text: &str) -> String {
    text.replace('%', "%%")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_as_they_are_written() {
        for (text, user, host, port) in [
            ("h", None, "h", None),
            ("ops@bastion:2222", Some("ops"), "bastion", Some(2222)),
            ("u@d@h", Some("u@d"), "h", None),
            ("[::1]:22", None, "::1", Some(22)),
            ("[fe80::1%eth0]", None, "fe80::1%eth0", None),
        ] {
            let endpoint: Endpoint = text.parse().expect(text);
            assert_eq!(
                (endpoint.user.as_deref(), endpoint.host.as_str(), endpoint.port),
                (user, host, port)
            );
            assert_eq!(endpoint.to_string(), text);
        }
        let bare: Endpoint = "fe80::1".parse().expect("literal");
        assert_eq!(bare.to_string(), "[fe80::1]");
    }

    #[test]
    fn what_ssh_could_take_for_an_option_is_refused() {
        for text in [
            "",
            "@h",
            "-oProxyCommand=x",
            "u@-h",
            "h:0",
            "h:x",
            "h:70000",
            "a b",
            "[::1",
            "[::1]x",
            "h;x",
            "$(x)",
        ] {
            assert!(text.parse::<Endpoint>().is_err(), "{text:?}");
        }
        let target = SshTarget::new("x", "-oProxyCommand=x");
        assert!(master_arguments(&target, Path::new("/c"), None).is_err());
    }

    #[test]
    fn our_own_settings_come_before_the_users() {
        let mut target = SshTarget::new("tm01", "10.0.0.1");
        target.options.insert("BatchMode".to_owned(), "no".to_owned());
        target.known_hosts = Some("/a b/100%/known".into());
        target.connect_timeout = Duration::from_millis(1);
        let arguments = master_arguments(&target, Path::new("/run/c"), Some("p")).expect("plausible");
        let text: Vec<_> = arguments.iter().map(|argument| argument.to_string_lossy()).collect();
        let at = |wanted: &str| text.iter().position(|argument| argument == wanted).expect(wanted);
        assert!(at("BatchMode=yes") < at("BatchMode=no"));
        at("UserKnownHostsFile=\"/a b/100%%/known\"");
        at("ConnectTimeout=1");
        at("ProxyCommand=p");
        assert_eq!(text[text.len() - 2..], ["--", "10.0.0.1"]);
    }
}

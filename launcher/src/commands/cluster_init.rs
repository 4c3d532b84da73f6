//! `flinkctl cluster init HOST...`

use std::fmt::Write as _;
use std::path::Path;

use toml::Value;

use crate::cli::InitArgs;
use crate::config::{Inventory, Request};
use crate::error::UserError;
use crate::exit_code::ExitCode;
use crate::output::Output;

/// A host as it is named on the command line.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    user: Option<String>,
    host: String,
    port: Option<u16>,
}

/// Prints an inventory for the hosts, as TOML whatever the output format.
pub(crate) fn run(args: &InitArgs, output: Output) -> Result<(), UserError> {
    output.text(&inventory(&args.hosts)?)
}

/// The text of the inventory. It was read back before it is returned, so it is a valid one.
fn inventory(hosts: &[String]) -> Result<String, UserError> {
    let targets: Vec<Target> = hosts.iter().map(|host| parse(host)).collect::<Result<_, _>>()?;
    let text = write(&targets);
    Inventory::parse(Path::new("(the new cluster.toml)"), text.clone(), &Request::default())?;
    Ok(text)
}

/// Reads `[user@]host[:port]`; an IPv6 literal with a port needs brackets.
fn parse(text: &str) -> Result<Target, UserError> {
    let bad = |reason: &str| {
        let error = UserError::new(
            "usage.host",
            ExitCode::Usage,
            format!("`{text}` is not a host: {reason}"),
        );
        error.help("expected [user@]host[:port], such as ops@tm01:2222, tm[01-16] or [fd00::1]:22")
    };
    let (user, rest) = match text.rsplit_once('@') {
        Some((user, rest)) => (Some(user.to_owned()), rest),
        None => (None, text),
    };
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, Some(port)),
        _ => (rest, None),
    };
    let port = port.map(|port| {
        port.parse()
            .ok()
            .filter(|port| *port != 0)
            .ok_or_else(|| bad("the port is no number from 1 to 65535"))
    });
    let literal = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .filter(|inner| inner.contains(':'));
    let host = literal.unwrap_or(host);
    if host.is_empty() || user.as_deref() == Some("") {
        return Err(bad("something is missing"));
    }
    Ok(Target {
        user,
        host: host.to_owned(),
        port: port.transpose()?,
    })
}

fn write(targets: &[Target]) -> String {
    let mut text = String::from(
        "# Inventory of flinkctl. Check it: flinkctl config validate, flinkctl cluster check\nschema = 1\n\n[cluster]\nname = \"default\"\n\n\
         [defaults]\nslots = 1                    # of each TaskManager; a good start: one per core\n",
    );
    for (index, target) in targets.iter().enumerate() {
        let quoted = |text: &str| Value::String(text.to_owned()).to_string();
        text.push_str("\n[[host]]\n");
        let mut line = |key: &str, value: &str| {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{key} = {value}");
        };
        if target.host.contains(':') {
            // A colon cannot be part of a name.
            line("name", &quoted(&format!("host{}", index + 1)));
            line("address", &quoted(&target.host));
        } else {
            line("name", &quoted(&target.host));
        }
        let ssh: Vec<String> = [
            target.user.as_deref().map(|user| format!("user = {}", quoted(user))),
            target.port.map(|port| format!("port = {port}")),
        ]
        .into_iter()
        .flatten()
        .collect();
        if !ssh.is_empty() {
            line("ssh", &format!("{{ {} }}", ssh.join(", ")));
        }
        if index == 0 && !target.host.contains('[') {
            line("roles", "[\"jobmanager\", \"taskmanager\"]");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_hosts() {
        let target = |user: Option<&str>, host: &str, port| Target {
            user: user.map(ToOwned::to_owned),
            host: host.to_owned(),
            port,
        };
        let cases = [
            ("tm01", Some(target(None, "tm01", None))),
            ("ops@tm01:2222", Some(target(Some("ops"), "tm01", Some(2222)))),
            ("tm[01-16]:22", Some(target(None, "tm[01-16]", Some(22)))),
            ("fd00::1", Some(target(None, "fd00::1", None))),
            ("[fd00::1]:22", Some(target(None, "fd00::1", Some(22)))),
            ("root@[fd00::1]", Some(target(Some("root"), "fd00::1", None))),
            ("tm01:x", None),
            ("tm01:0", None),
            ("@tm01", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn writes_an_inventory() {
        let hosts = ["ops@jm01:2222", "tm[01-16]", "[fd00::7]:22"].map(ToOwned::to_owned);
        insta::assert_snapshot!(inventory(&hosts).unwrap());
    }

    #[test]
    fn refuses_what_the_inventory_would_refuse() {
        for hosts in [&["tm01", "tm01"][..], &["-oProxyCommand=x"], &["tm[3-1]"], &["a b"]] {
            let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
            let error = inventory(&hosts).unwrap_err();
            assert_eq!(error.exit_code(), ExitCode::Usage, "{hosts:?}");
        }
    }
}

//! Who has a port of this host.

use std::fs;

use super::identity::environment_tag;

/// Longest command line that is shown, in characters.
const MAX_COMMAND: usize = 80;

/// A process that has a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortHolder {
    /// Its process id.
    pub pid: u32,
    /// Its command line, cut where it gets long.
    pub command: String,
    /// The tag in its environment, if it is one of ours.
    pub tag: Option<String>,
}

/// The process that has a UDP port of this host; `None` when there is none, or it is another user's.
#[must_use]
pub fn udp_port_holder(port: u16) -> Option<PortHolder> {
    let sockets: Vec<String> = ["/proc/net/udp", "/proc/net/udp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| sockets_on(&table, port))
        .collect();
    let entries = fs::read_dir("/proc").ok()?.flatten();
    let pid = entries
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .find(|pid| has_one_of(*pid, &sockets))?;
    Some(PortHolder {
        pid,
        command: command(&fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()),
        tag: environment_tag(pid),
    })
}

/// The sockets of a table of `/proc/net` that are bound to `port`, as links in `/proc/PID/fd` name them.
fn sockets_on(table: &str, port: u16) -> Vec<String> {
    let socket = |line: &str| {
        let mut fields = line.split_whitespace();
        let (_address, bound) = fields.nth(1)?.rsplit_once(':')?;
        let inode = fields.nth(7)?;
        (u16::from_str_radix(bound, 16).ok()? == port).then(|| format!("socket:[{inode}]"))
    };
    table.lines().skip(1).filter_map(socket).collect()
}

fn has_one_of(pid: u32, sockets: &[String]) -> bool {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    descriptors
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .any(|link| sockets.iter().any(|socket| link.as_os_str() == socket.as_str()))
}

/// One line of a command line whose words end with NUL.
fn command(words: &[u8]) -> String {
    let text = String::from_utf8_lossy(words);
    let line: String = text
        .trim_end_matches('\0')
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect();
    if line.chars().count() <= MAX_COMMAND {
        return line;
    }
    let start: String = line.chars().take(MAX_COMMAND - 3).collect();
    format!("{}...", start.trim_end())
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn who_has_a_port_is_found() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            // A machine may have one of the two only.
            let Ok(socket) = UdpSocket::bind(address) else { continue };
            let port = socket.local_addr().expect("bound").port();
            let holder = udp_port_holder(port).expect("it is ours");
            assert_eq!(holder.pid, std::process::id());
            assert!(!holder.command.is_empty());
        }
    }

    #[test]
    fn commands_are_one_short_line() {
        assert_eq!(
            command(b"flinkctl\0jobmanager\0--launched\0"),
            "flinkctl jobmanager --launched"
        );
        assert_eq!(command(b"python3\0-c\0a\nb\0"), "python3 -c a b");
        assert_eq!(command("ä".repeat(100).as_bytes()), format!("{}...", "ä".repeat(77)));
        assert_eq!(command(b""), "");
    }
}

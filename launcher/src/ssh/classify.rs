//! What a failed master said, sorted. OpenSSH has no error codes: every failure exits with 255 and an English line on stderr
//! (it sets no message locale, so the lines are the same everywhere).

use std::time::Duration;

use super::error::{HostKey, SshErrorKind};
use super::target::SshTarget;

/// A failure of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) kind: SshErrorKind,
    pub(super) text: String,
}

impl Failure {
    pub(super) const fn of(kind: SshErrorKind) -> Self {
        Self {
            kind,
            text: String::new(),
        }
    }

    pub(super) const fn with_text(kind: SshErrorKind, text: String) -> Self {
        Self { kind, text }
    }
}

/// Exit code of `agent tether` when it cannot become `ssh`.
const NOT_EXECUTED: i32 = 126;

/// Sorts what a master said before it ended. Order matters: a failed jump is followed by a dropped key exchange, a changed key by
/// a failed verification.
pub(super) fn classify(text: &str, code: Option<i32>, target: &SshTarget) -> Failure {
    let said = |words: &str| text.contains(words);
    let kind = if code == Some(NOT_EXECUTED) && said("No such file or directory") {
        SshErrorKind::NoSshBinary
    } else if said("REMOTE HOST IDENTIFICATION HAS CHANGED") {
        host_key_changed(text)
    } else if said("requested strict checking") || said("Host key verification failed") {
        SshErrorKind::HostKeyUnknown
    } else if let Some(reason) = jump_failure(text, target) {
        reason
    } else if said("Permission denied (") || said("Too many authentication failures") {
        SshErrorKind::Auth {
            accepts: accepted_methods(text),
            tried: Vec::new(),
        }
    } else if said("Could not resolve hostname") {
        SshErrorKind::Unresolvable
    } else if said("Connection refused") {
        SshErrorKind::Refused
    } else if said("Connection timed out") || said("Operation timed out") {
        SshErrorKind::Timeout(target.connect_timeout)
    } else if said("No route to host") || said("Network is unreachable") {
        SshErrorKind::Unreachable
    } else if said("too long for Unix domain socket") {
        SshErrorKind::ControlDirectory("its path is too long".to_owned())
    } else if dropped_before_login(text) {
        SshErrorKind::Throttled {
            attempts: 1,
            elapsed: Duration::ZERO,
        }
    } else {
        SshErrorKind::Other
    };
    Failure { kind, text: tidy(text) }
}

fn dropped_before_login(text: &str) -> bool {
    text.lines().any(|line| {
        let dropped = line.contains("Connection closed") || line.contains("Connection reset");
        // After the key exchange ssh names the user: that is a refusal, no accident.
        dropped && !line.contains("authenticating user")
    })
}

fn jump_failure(text: &str, target: &SshTarget) -> Option<SshErrorKind> {
    let hop = target.jump.last()?.clone();
    // With its socket gone, `ssh -S` tries to connect to the placeholder host by itself.
    let reason = if text.contains("hostname none") {
        "its connection was lost".to_owned()
    } else if text.contains("Stdio forwarding request failed") || text.contains("stdio forwarding failed") {
        format!("cannot connect to {} from there", target.endpoint())
    } else {
        return None;
    };
    Some(SshErrorKind::JumpFailed { hop, reason })
}

fn accepted_methods(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("Permission denied (")?;
    let (methods, _) = rest.split_once(')')?;
    Some(methods.replace(',', ", "))
}

fn host_key_changed(text: &str) -> SshErrorKind {
    let offered = text.split_once("The fingerprint for the ").and_then(|(_, rest)| {
        let (algorithm, rest) = rest.split_once(" key sent by the remote host is")?;
        let value = rest.split_whitespace().next()?.trim_end_matches('.');
        Some(Box::new(HostKey {
            algorithm: algorithm.to_owned(),
            value: value.to_owned(),
        }))
    });
    let known = text
        .lines()
        .find_map(|line| line.strip_prefix("Offending "))
        .and_then(|rest| {
            let (algorithm, place) = rest.split_once(" key in ")?;
            Some(Box::new(HostKey {
                algorithm: algorithm.to_owned(),
                value: place.trim().to_owned(),
            }))
        });
    SshErrorKind::HostKeyChanged { known, offered }
}

/// Verbatim lines without blank ones and without carriage returns.
fn tidy(text: &str) -> String {
    let lines: Vec<_> = text
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
        .collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Verbatim output of OpenSSH 9.2.
    const CHANGED: &str = "\
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
IT IS POSSIBLE THAT SOMEONE IS DOING SOMETHING NASTY!
Someone could be eavesdropping on you right now (man-in-the-middle attack)!
It is also possible that a host key has just been changed.
The fingerprint for the ED25519 key sent by the remote host is
SHA256:P6F8bJZySfQzUJGuLYRo6oj3Znkqta9wIrjRHLjCF1Y.
Please contact your system administrator.
Add correct host key in /tmp/sshx/khrsa to get rid of this message.
Offending RSA key in /tmp/sshx/khrsa:1
  remove with:
  ssh-keygen -f \"/tmp/sshx/khrsa\" -R \"[127.0.0.1]:2299\"
Host key for [127.0.0.1]:2299 has changed and you have requested strict checking.
Host key verification failed.\r
";

    fn direct(text: &str) -> &'static str {
        code_of(text, Some(255), &SshTarget::new("tm01", "127.0.0.1"))
    }

    fn code_of(text: &str, code: Option<i32>, target: &SshTarget) -> &'static str {
        let Failure { kind, text } = classify(text, code, target);
        super::super::SshError {
            host: target.name.clone(),
            endpoint: target.endpoint().to_string(),
            kind,
            text: text.into(),
        }
        .code()
    }

    #[test]
    fn real_words_of_openssh_are_sorted() {
        for (text, code) in [
            (
                "ssh: connect to host 127.0.0.1 port 2298: Connection refused\r\n",
                "ssh.refused",
            ),
            (
                "ssh: Could not resolve hostname no-such-host.invalid: Name or service not known\r\n",
                "ssh.unresolvable",
            ),
            (
                "ssh: connect to host 10.0.0.19 port 22: Connection timed out\r\n",
                "ssh.timeout",
            ),
            (
                "Connection timed out during banner exchange\r\nConnection to 10.255.255.1 port 22 timed out\r\n",
                "ssh.timeout",
            ),
            (
                "ssh: connect to host 10.99.0.1 port 22: No route to host\r\n",
                "ssh.unreachable",
            ),
            (
                "ssh: connect to host 240.0.0.1 port 22: Network is unreachable\r\n",
                "ssh.unreachable",
            ),
            (
                "root@127.0.0.1: Permission denied (publickey,keyboard-interactive).\r\n",
                "ssh.auth",
            ),
            (
                "Received disconnect from 127.0.0.1 port 22:2: Too many authentication failures\r\n",
                "ssh.auth",
            ),
            (
                "Load key \"id\": bad permissions\r\nroot@127.0.0.1: Permission denied (publickey).\r\n",
                "ssh.auth",
            ),
            (CHANGED, "ssh.host-key-changed"),
            (
                "No ED25519 host key is known for [127.0.0.1]:2299 and you have requested strict checking.\r\nHost key verification failed.\r\n",
                "ssh.host-key-unknown",
            ),
            (
                "kex_exchange_identification: Connection closed by remote host\r\n",
                "ssh.throttled",
            ),
            (
                "kex_exchange_identification: read: Connection reset by peer\r\n",
                "ssh.throttled",
            ),
            ("Connection closed by 127.0.0.1 port 2294\r\n", "ssh.throttled"),
            (
                "ssh: connect to host 127.0.0.1 port 2296: Connection reset by peer\r\n",
                "ssh.throttled",
            ),
            (
                "Connection closed by authenticating user root 127.0.0.1 port 22 [preauth]\r\n",
                "ssh.failed",
            ),
            (
                "unix_listener: path \"/tmp/xxx.w6MHUmw5iS00UsIh\" too long for Unix domain socket\r\n",
                "ssh.control-path",
            ),
            (
                "command-line: line 0: Bad configuration option: nosuchoption\r\n",
                "ssh.failed",
            ),
            ("", "ssh.failed"),
        ] {
            assert_eq!(direct(text), code, "{text}");
        }
    }

    #[test]
    fn failures_behind_a_jump_host_name_it() {
        let mut target = SshTarget::new("tm01", "10.0.0.1");
        target.jump = vec!["ops@bastion:2222".to_owned()];
        let refused = "Stdio forwarding request failed: Session open refused by peer\r\n\
                       kex_exchange_identification: Connection closed by remote host\r\n";
        let lost = "ssh: Could not resolve hostname none: Name or service not known\r\n\
                    kex_exchange_identification: Connection closed by remote host\r\n";
        let throttled = "kex_exchange_identification: Connection closed by remote host\r\n";
        assert_eq!(code_of(refused, Some(255), &target), "ssh.jump");
        assert_eq!(code_of(lost, Some(255), &target), "ssh.jump");
        assert_eq!(code_of(throttled, Some(255), &target), "ssh.throttled");
        let SshErrorKind::JumpFailed { hop, .. } = classify(refused, Some(255), &target).kind else {
            panic!("jump");
        };
        assert_eq!(hop, "ops@bastion:2222");
    }

    #[test]
    fn changed_key_tells_both_keys() {
        let target = SshTarget::new("tm01", "127.0.0.1");
        let SshErrorKind::HostKeyChanged { known, offered } = classify(CHANGED, Some(255), &target).kind else {
            panic!("changed");
        };
        assert_eq!(known.expect("known").to_string(), "RSA /tmp/sshx/khrsa:1");
        assert_eq!(
            offered.expect("offered").to_string(),
            "ED25519 SHA256:P6F8bJZySfQzUJGuLYRo6oj3Znkqta9wIrjRHLjCF1Y"
        );
    }

    #[test]
    fn missing_client_and_accepted_methods() {
        let target = SshTarget::new("tm01", "127.0.0.1");
        let missing = "flinkctl agent: ssh: No such file or directory (os error 2)\n";
        assert_eq!(code_of(missing, Some(126), &target), "ssh.no-client");
        assert_eq!(
            accepted_methods("x: Permission denied (publickey,password)."),
            Some("publickey, password".to_owned())
        );
    }
}

//! The shell script that puts our binary on a host and becomes it.
//!
//! It is the only shell text that ever runs there. It arrives on the stdin of `sh -s`, so it must survive a shell that reads its
//! script in blocks (dash): whatever else comes on stdin is sent only after the shell has said that it has read so far
//! ("strict turns"). It uses nothing beyond POSIX but `sha256sum` and `head -c`.

use flink_rpc::messages::{BlobDigest, UMASK_VARIABLE};

/// What the script needs to know.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan<'a> {
    /// A random word: what the login files print will not contain it.
    pub(super) nonce: &'a str,
    /// Base directory: absolute, `~/...`, `~user/...`, or relative to the home directory.
    pub(super) base: &'a str,
    /// The binary.
    pub(super) digest: BlobDigest,
    /// Its size in bytes.
    pub(super) size: u64,
    /// Shell text of the binary's arguments; may use `"$B"`, the resolved base directory.
    pub(super) arguments: &'a str,
}

/// What begins every line of the script to us.
pub(super) fn marker(nonce: &str) -> String {
    format!("\nFLINKCTL-{nonce} ")
}

/// The first turn: says `ready` and becomes the binary, or says `missing` with the host's facts.
pub(super) fn opening(plan: &Plan<'_>) -> String {
    let Plan {
        nonce,
        base,
        digest,
        size,
        arguments,
    } = plan;
    let base = quote_path(base);
    format!(
        r#"{UMASK_VARIABLE}=${{{UMASK_VARIABLE}:-$(umask)}}
export {UMASK_VARIABLE}
umask 077
exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-
B={base}
case $B in /*) ;; *) B="$PWD/$B" ;; esac
D="$B/blobs/sha256"
F="$D/{digest}"
T="$D/.incoming.{nonce}"
say() {{ printf '\nFLINKCTL-{nonce} %s\n' "$*"; }}
fail() {{ rm -f "$T"; say failed "$1" "$(printf %s "$2" | tr '\n' ' ')"; exit 1; }}
become() {{ exec "$F" {arguments}; }}
put() {{ (
LC_ALL=C; export LC_ALL
E=$(mkdir -p "$D" 2>&1) || fail directory "$E"
E=$({{ : >"$T"; }} 2>&1) || fail create "$E"
say go
E=$({{ head -c {size} >"$T"; }} 2>&1) || fail write "$E"
S=$(sha256sum <"$T" 2>&1) || fail digest "$S"
case $S in {digest}*) ;; *) fail damaged "$(wc -c <"$T") bytes, sha256 $S" ;; esac
E=$({{ chmod 500 "$T" && mv -f "$T" "$F"; }} 2>&1) || fail rename "$E"
) }}
if [ -f "$F" ] && [ "$(wc -c <"$F")" -eq {size} ]; then say ready; become; fi
say missing "$(uname -s)" "$(uname -m)" "$(getconf GNU_LIBC_VERSION 2>/dev/null | cut -d' ' -f2)" "$HOME"
"#
    )
}

/// The second turn, when the binary was missing: the script answers `go`, takes the bytes, says `ready` and becomes the binary.
pub(super) const UPLOAD: &str = "put || exit 1; say ready; become\n";

/// Quotes a word for the shell.
pub(super) fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Quotes a path, but leaves a leading `~` or `~user` for the shell to resolve.
fn quote_path(path: &str) -> String {
    let Some(rest) = path.strip_prefix('~') else {
        return quote(path);
    };
    let (user, below) = rest.split_once('/').unwrap_or((rest, ""));
    let plain = user
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
    match (plain, below) {
        (false, _) => quote(path),
        (true, "") => format!("~{user}"),
        (true, below) => format!("~{user}/{}", quote(below)),
    }
}

/// An answer of the script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// The binary is there, and what follows is its own output.
    Ready,
    /// The binary is not there.
    Missing(ShellFacts),
    /// The bytes may come.
    Go,
    /// The upload failed at a step; the text is the tool's own.
    Failed(String, String),
}

/// What the shell knows about the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ShellFacts {
    /// `uname -s`.
    pub(super) system: String,
    /// `uname -m`.
    pub(super) machine: String,
    /// Version of the GNU C library; empty where there is none.
    pub(super) glibc: String,
    /// `$HOME`.
    pub(super) home: String,
}

/// Reads what follows the marker on its line.
pub(super) fn parse_answer(line: &str) -> Option<Answer> {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    Some(match word {
        "ready" => Answer::Ready,
        "go" => Answer::Go,
        "missing" => {
            let mut words = rest.splitn(4, ' ');
            let mut next = || words.next().map(str::to_owned);
            Answer::Missing(ShellFacts {
                system: next()?,
                machine: next()?,
                glibc: next()?,
                home: next()?,
            })
        }
        "failed" => {
            let (step, text) = rest.split_once(' ').unwrap_or((rest, ""));
            Answer::Failed(step.to_owned(), text.trim().to_owned())
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn shell_says(shell: &str, text: &str) -> String {
        let output = Command::new(shell)
            .env("HOME", "/home/a b")
            .args(["-c", &format!("printf %s {text}")])
            .output()
            .expect("shell runs");
        assert!(output.status.success(), "{text}: {output:?}");
        String::from_utf8(output.stdout).expect("text")
    }

    #[test]
    fn quoting_survives_every_shell_here() {
        for shell in ["sh", "bash"] {
            for text in [
                "",
                "a b",
                "it's",
                "''",
                "$HOME `id` \"x\" \\ * ;&|<>#!",
                "ü\n\ttab",
                "-n",
                "~",
            ] {
                assert_eq!(shell_says(shell, &quote(text)), text, "{shell}");
            }
            assert_eq!(shell_says(shell, &quote_path("~/x y/it's")), "/home/a b/x y/it's");
            assert_eq!(shell_says(shell, &quote_path("~")), "/home/a b");
            assert_eq!(shell_says(shell, &quote_path("~root/x")), "/root/x");
            assert_eq!(shell_says(shell, &quote_path("/a b/~")), "/a b/~");
            assert_eq!(shell_says(shell, &quote_path("~$(id)/x")), "~$(id)/x");
        }
    }

    #[test]
    fn answers_are_read() {
        assert_eq!(parse_answer("ready"), Some(Answer::Ready));
        assert_eq!(parse_answer("go"), Some(Answer::Go));
        let facts = |glibc: &str| ShellFacts {
            system: "Linux".to_owned(),
            machine: "x86_64".to_owned(),
            glibc: glibc.to_owned(),
            home: "/home/a b".to_owned(),
        };
        assert_eq!(
            parse_answer("missing Linux x86_64 2.36 /home/a b"),
            Some(Answer::Missing(facts("2.36")))
        );
        assert_eq!(
            parse_answer("missing Linux x86_64  /home/a b"),
            Some(Answer::Missing(facts("")))
        );
        assert_eq!(
            parse_answer("failed write head: x: No space left on device "),
            Some(Answer::Failed(
                "write".to_owned(),
                "head: x: No space left on device".to_owned()
            ))
        );
        assert_eq!(parse_answer("Welcome"), None);
        assert_eq!(parse_answer("missing Linux"), None);
    }
}

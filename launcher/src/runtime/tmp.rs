//! Where the workers of a TaskManager, and the coordinators of a JobManager, have their temporary files:
//! `<tmp>/flinkctl-<cluster>.<session>.<random>`.
//!
//! The TaskManager makes it for its first worker and removes it at its end; so does the JobManager. Should it be killed, who stops it or sweeps
//! its host does. `[dirs] tmp` is everybody's and lies outside of the base directory, where an agent removes nothing by
//! itself: a shell does it, and takes only what belongs to the login user.

use crate::agent::{
    AgentClient, CallError, CommandEvent,
    protocol::{AgentError, Exit, Output},
};

/// Prints the names of our directories in `$1` that begin with `$2`.
const LIST: &str = r#"cd -- "$1" 2>/dev/null || exit 0
for d in "$2"*; do
if [ -d "$d" ] && [ ! -L "$d" ] && [ -O "$d" ]; then printf '%s\n' "$d"; fi
done"#;

/// A name for such a directory that nobody can have taken, or guess; `tag` is `<cluster>/<session>`.
pub(super) fn fresh_name(tag: &str) -> String {
    format!("flinkctl-{}.{}", tag.replace('/', "."), uuid::Uuid::now_v7().simple())
}

/// The session that a directory of this cluster belongs to.
pub(crate) fn session_of<'a>(cluster: &str, name: &'a str) -> Option<&'a str> {
    let (session, _random) = name.strip_prefix(&prefix(cluster))?.rsplit_once('.')?;
    Some(session)
}

/// The names of the cluster's directories in `tmp` of the agent's host.
///
/// # Errors
/// When the agent does not answer.
pub(crate) async fn list(agent: &AgentClient, tmp: &str, cluster: &str) -> Result<Vec<String>, CallError> {
    let prefix = prefix(cluster);
    let names = run(agent, &["sh", "-c", LIST, "sh", &from_home(tmp), &prefix]).await?;
    let names = names.lines().filter(|name| session_of(cluster, name).is_some());
    Ok(names.map(str::to_owned).collect())
}

/// Removes the directory `name` in `tmp` of the agent's host; there may be none.
///
/// # Errors
/// When something of it is left, or the agent does not answer.
pub(crate) async fn remove(agent: &AgentClient, tmp: &str, name: &str) -> Result<(), CallError> {
    let path = format!("{}/{name}", from_home(tmp));
    run(agent, &["rm", "-rf", "--", &path]).await.map(drop)
}

fn prefix(cluster: &str) -> String {
    format!("flinkctl-{cluster}.")
}

/// The path as a command of an agent has it, which begins in the home directory.
fn from_home(path: &str) -> String {
    match path.strip_prefix("~/") {
        Some(rest) => format!("./{rest}"),
        None => path.to_owned(),
    }
}

async fn run(agent: &AgentClient, words: &[&str]) -> Result<String, CallError> {
    let (mut said, mut complaint) = (Vec::new(), Vec::new());
    let words = words.iter().map(|&word| word.to_owned()).collect();
    let mut running = agent.exec(words).await?;
    let exit = loop {
        match running.next().await? {
            CommandEvent::Output(Output::Stdout, bytes) => said.extend(bytes),
            CommandEvent::Output(Output::Stderr, bytes) => complaint.extend(bytes),
            CommandEvent::Exited(exit) => break exit,
        }
    };
    if exit == Exit::Code(0) {
        return Ok(String::from_utf8_lossy(&said).into_owned());
    }
    Err(CallError::Agent {
        host: agent.host().to_owned(),
        error: AgentError::Process(String::from_utf8_lossy(&complaint).trim().to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink, path::Path, process::Command};

    use super::*;

    #[test]
    fn names_tell_their_session() {
        let name = fresh_name("prod/etl-2");
        assert!(name.starts_with("flinkctl-prod.etl-2."), "{name}");
        assert_ne!(name, fresh_name("prod/etl-2"));
        assert_eq!(session_of("prod", &name), Some("etl-2"));
        assert_eq!(session_of("pro", &name), None);
        assert_eq!(session_of("prod", "flinkctl-prod.x"), None);
    }

    #[test]
    fn only_directories_of_ours_are_listed() {
        let tmp = tempfile::tempdir().unwrap();
        let at = |name: &str| tmp.path().join(name);
        for name in ["flinkctl-c.one two.1", "flinkctl-c.s.2", "flinkctl-c2.s.3", "other"] {
            fs::create_dir(at(name)).unwrap();
        }
        fs::write(at("flinkctl-c.s.4"), "a file").unwrap();
        symlink("/", at("flinkctl-c.s.5")).unwrap();
        let list = |tmp: &Path| {
            let output = Command::new("sh")
                .args(["-c", LIST, "sh"])
                .arg(tmp)
                .arg(prefix("c"))
                .output()
                .unwrap();
            assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
            String::from_utf8(output.stdout).unwrap()
        };
        assert_eq!(list(tmp.path()), "flinkctl-c.one two.1\nflinkctl-c.s.2\n");
        assert_eq!(list(&at("missing")), "");
    }
}

//! `flinkctl completions SHELL`

use clap::{Command, CommandFactory as _};
use clap_complete::Shell;

use crate::cli::{Cli, CompletionsArgs};
use crate::error::UserError;
use crate::output::Output;

/// Prints the completion script of a shell, whatever the output format.
pub(crate) fn run(args: &CompletionsArgs, output: Output) -> Result<(), UserError> {
    output.text(&script(args.shell))
}

fn script(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command(), "flinkctl", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// The command line as people type it: `clap_complete` would offer hidden commands, too.
fn command() -> Command {
    let all = Cli::command();
    let shown = all.get_subcommands().filter(|command| !command.is_hide_set());
    Command::new("flinkctl")
        .args(all.get_arguments().cloned())
        .subcommands(shown.cloned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_know_the_verbs_that_people_use() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = script(shell);
            let knows = |word: &str| script.contains(word);
            assert!(knows("session") && knows("per-job") && knows("cluster-file"), "{shell}");
            assert!(!knows("agent"), "{shell}");
        }
    }
}

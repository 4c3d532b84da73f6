//! `flinkctl completions SHELL`

use clap::CommandFactory as _;

use crate::cli::{Cli, CompletionsArgs};
use crate::error::UserError;
use crate::output::Output;

/// Prints the completion script of a shell, whatever the output format.
pub(crate) fn run(args: &CompletionsArgs, output: Output) -> Result<(), UserError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "flinkctl", &mut script);
    output.text(&String::from_utf8_lossy(&script))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_know_the_verbs() {
        for shell in [
            clap_complete::Shell::Bash,
            clap_complete::Shell::Zsh,
            clap_complete::Shell::Fish,
        ] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "flinkctl", &mut script);
            let script = String::from_utf8(script).unwrap();
            assert!(script.contains("session") && script.contains("per-job"), "{shell}");
        }
    }
}

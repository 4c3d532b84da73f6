use clap::{Command, CommandFactory as _, Parser as _};

use super::*;

fn walk(command: &Command, visit: &mut dyn FnMut(&Command)) {
    visit(command);
    for sub in command.get_subcommands() {
        walk(sub, visit);
    }
}

#[test]
fn the_tree_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn every_long_flag_has_a_variable_and_a_description() {
    walk(&Cli::command(), &mut |command| {
        // Hidden ones are between processes of ours.
        for arg in command
            .get_arguments()
            .filter(|arg| arg.get_long().is_some() && !arg.is_hide_set())
        {
            let name = format!("{} --{}", command.get_name(), arg.get_id());
            assert!(arg.get_help().is_some(), "{name} has no description");
            if !matches!(arg.get_id().as_str(), "help" | "version") {
                let variable = arg.get_env().and_then(|name| name.to_str()).unwrap_or_default();
                assert!(variable.starts_with("FLINKCTL_"), "{name} has no variable");
            }
        }
    });
}

#[test]
fn help_of_every_command() {
    let mut text = String::new();
    let mut root = Cli::command().term_width(100);
    root.build();
    walk(&root, &mut |command| {
        if command.is_hide_set() || command.get_name() == "help" {
            return;
        }
        let help = command.clone().term_width(100).render_help();
        text.push_str(&format!(
            "=== {}\n{help}\n",
            command.get_bin_name().unwrap_or("flinkctl")
        ));
    });
    insta::assert_snapshot!(text);
}

#[test]
fn long_help_of_job_run() {
    let mut root = Cli::command().term_width(100);
    root.build();
    let run = root
        .find_subcommand_mut("job")
        .and_then(|job| job.find_subcommand_mut("run"));
    insta::assert_snapshot!(
        run.map(|run| run.clone().term_width(100).render_long_help().to_string())
            .unwrap_or_default()
    );
}

#[test]
fn global_options_stand_anywhere() {
    let cli = Cli::try_parse_from(["flinkctl", "job", "ls", "-o", "json", "-c", "x.toml", "-vv"]);
    let cli = cli.expect("parses");
    assert_eq!(cli.global.output, OutputFormat::Json);
    assert_eq!(cli.global.cluster_file.as_deref(), Some(std::path::Path::new("x.toml")));
    assert_eq!(cli.global.verbose, 2);
    assert!(matches!(cli.command, super::Command::Job(JobCommand::List(_))));
}

#[test]
fn program_arguments_are_not_ours() {
    let cli =
        Cli::try_parse_from(["flinkctl", "job", "run", "-p", "4", "-D", "a=b", "wc", "--", "-p", "9"]).expect("parses");
    let super::Command::Job(JobCommand::Run(run)) = cli.command else {
        panic!("not run: {:?}", cli.command)
    };
    assert_eq!(run.parallelism, Some(4));
    assert_eq!(run.define.define, ["a=b"]);
    assert_eq!(run.program.args, ["-p", "9"]);
}

#[test]
fn targets_exclude_each_other() {
    for args in [
        &["--local", "--per-job"][..],
        &["--session", "x", "--local"],
        &["--local", "-d"],
        &["--local", "-D", "a=b"],
        &["--local", "-H", "tm01"],
        &["--session", "x", "-D", "a=b"],
        &["--session", "x", "-H", "tm01"],
        &["--session", "x", "--exclude", "tm01"],
    ] {
        let all = ["flinkctl", "job", "run"].iter().chain(args).chain(&["wc"]);
        assert!(Cli::try_parse_from(all).is_err(), "{args:?}");
    }
}

#[test]
fn help_exit_codes() {
    let error = Cli::try_parse_from(["flinkctl", "help", "exit-codes"]).expect_err("help is an early exit");
    assert_eq!(error.to_string(), crate::exit_code::ExitCode::help());
}

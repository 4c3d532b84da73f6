use std::path::Path;

use super::*;

fn unreachable_hosts() -> UserError {
    UserError::new(
        "ssh.refused",
        ExitCode::Unreachable,
        "2 of 16 hosts cannot be reached: tm04, tm09",
    )
    .host("tm04", "connect to 10.0.0.14 port 22: Connection refused")
    .host("tm09", "connect to 10.0.0.19 port 22: no answer in 10s")
    .note("14 hosts were ready; nothing was started.")
    .help("flinkctl cluster check -H tm04,tm09")
    .help("or start without them: --exclude tm04,tm09")
}

#[test]
fn names_hosts_and_help() {
    insta::assert_snapshot!(unreachable_hosts().render_plain());
}

#[test]
fn json_has_every_field() {
    insta::assert_snapshot!(format!("{:#}", unreachable_hosts().to_json()));
}

#[test]
fn identical_failures_are_folded() {
    let mut error = UserError::new("ssh.auth", ExitCode::Unreachable, "14 hosts refused the login");
    for index in 1..=7 {
        error = error.host(format!("tm{index:02}"), "Permission denied (publickey)");
    }
    for index in 8..=14 {
        error = error.host(format!("tm{index:02}"), format!("something else {index}\nsecond line"));
    }
    insta::assert_snapshot!(error.render_plain());
}

#[test]
fn warning_with_places_and_details() {
    let warning = UserError::warning(
        "partial",
        ExitCode::Partial,
        "session \"etl\" is up with 14 of 16 TaskManagers",
    )
    .at("cluster.toml:30  [[host]] \"tm01\"")
    .detail("last lines of the log:\n  INFO  started");
    insta::assert_snapshot!(warning.render_plain());
}

#[test]
fn colours_are_there_to_be_stripped() {
    let styled = unreachable_hosts().render_styled();
    assert!(styled.contains("\u{1b}["));
    assert!(!unreachable_hosts().render_plain().contains('\u{1b}'));
}

#[test]
fn snippet_marks_the_place() {
    let source = SourceText::new(
        Path::new("cluster.toml"),
        "schema = 1\n[defaults]\nslot = 8\n".to_owned(),
    );
    let error = UserError::new(
        "config.unknown-key",
        ExitCode::Usage,
        "unknown key `slot` in [defaults]",
    )
    .snippet(Snippet::new(source, 22..26, "expected one of: slots, env").context(11..21, "in this table"))
    .help("did you mean `slots`?")
    .and(UserError::new(
        "config.no-hosts",
        ExitCode::Usage,
        "the inventory has no [[host]]",
    ));
    insta::assert_snapshot!(error.render_plain());
}

#[test]
fn positions_count_characters_from_one() {
    let source = SourceText::new(Path::new("x"), "äb\nc".to_owned());
    assert_eq!(source.position(0), (1, 1));
    assert_eq!(source.position(2), (1, 2));
    assert_eq!(source.position(4), (2, 1));
    assert_eq!(source.position(99), (2, 2));
}

#[test]
fn a_user_error_survives_anyhow() {
    let error = anyhow::Error::new(unreachable_hosts()).context("while starting");
    assert_eq!(UserError::from(error).code(), "ssh.refused");
    let error = anyhow::anyhow!("low level").context("high level");
    let error = UserError::from(error);
    assert_eq!(error.exit_code(), ExitCode::Internal);
    assert_eq!(
        error.render_plain(),
        "error[internal]: high level\n  caused by: low level\n"
    );
}

#[test]
fn a_closed_pipe_is_no_error() {
    let error = stdout_error(&io::Error::from(io::ErrorKind::BrokenPipe));
    assert!(error.is_silent());
    assert_eq!(error.exit_code(), ExitCode::Ok);
}

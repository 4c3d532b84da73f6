//! Names of sessions and ids of jobs that are wrong, taken, or not clear.

use flink_tests::{PATIENCE, Traces, in_testbed, on_hosts};
use serde_json::Value;

use super::{refused, word_of};

#[test]
fn sessions_that_do_not_exist() {
    in_testbed(&on_hosts(1), |bed| {
        let wordcount = bed.wordcount();
        for args in [
            &["session", "stop", "nope"][..],
            &["session", "status", "nope"],
            &["job", "list", "--session", "nope"],
            &["job", "run", "--session", "nope", &wordcount],
        ] {
            let says = ["there is no session \"nope\"", "flinkctl session list"];
            refused(bed.flinkctl(args), 9, "session.not-found", &says);
        }
        let output = bed.flinkctl(["session", "start", "Not A Name", "-d"]);
        refused(output, 2, "session.name", &["`Not A Name`", "a-z, 0-9 and -"]);
        bed.nothing_left(PATIENCE, Traces::None);
    });
}

#[test]
fn what_a_session_was_started_with_cannot_be_changed_by_a_job() {
    in_testbed(&on_hosts(1).or_sshds(), |bed| {
        let wordcount = bed.wordcount();
        for target in [&["--session", "etl"][..], &["--local"]] {
            for option in [&["-D", "taskmanager.max=1"][..], &["-H", "h1"], &["--exclude", "h1"]] {
                let args = [&["job", "run"], target, option, &[&wordcount]].concat();
                let output = bed.flinkctl(args).exits(2);
                let _output = output.reports(&["error: the argument '--", "cannot be used with '-"]);
            }
        }
    });
}

#[test]
fn sessions_that_exist() {
    in_testbed(&on_hosts(1), |bed| {
        bed.flinkctl(["session", "start", "etl", "-d"]).fine();
        let output = bed.flinkctl(["session", "start", "etl", "-d"]);
        let says = [
            "session \"etl\" is running already",
            "on h1 since ",
            "flinkctl session stop etl",
        ];
        refused(output, 8, "session.exists", &says);
        bed.flinkctl(["session", "stop", "etl"]).fine();
        bed.nothing_left(PATIENCE, Traces::None);
    });
}

#[test]
fn of_two_who_start_a_session_at_once_one_succeeds() {
    in_testbed(&on_hosts(1), |bed| {
        let start = || bed.start(["session", "start", "etl", "-d"]);
        let mut outputs = [start(), start()].map(flink_tests::Running::wait);
        outputs.sort_by_key(|output| output.code);
        let [first, second] = outputs;
        let _output = first.fine();
        let second = second.exits(8);
        assert!(
            second.stderr.contains("error[session.exists]") || second.stderr.contains("error[lock.held]"),
            "{}",
            second.everything()
        );
        let stop = || bed.start(["session", "stop", "etl"]);
        let mut outputs = [stop(), stop()].map(flink_tests::Running::wait);
        outputs.sort_by_key(|output| output.code);
        let [first, second] = outputs;
        let _output = first.fine();
        refused(second, 9, "session.not-found", &["there is no session \"etl\""]);
        bed.nothing_left(PATIENCE, Traces::None);
    });
}

#[test]
fn a_lock_that_somebody_holds_is_not_waited_for_forever() {
    in_testbed(&on_hosts(1), |bed| {
        bed.flinkctl(["session", "start", "etl", "-d"]).fine();
        let lock = "/root/.local/share/flinkctl/locks/testbed.etl";
        let script = format!("echo 'ops@elsewhere pid 7: flinkctl session stop etl' > {lock}; echo locked; cat");
        let mut holder = bed
            .exec_command("h1", &["flock", lock, "sh", "-c", &script])
            .stdin(std::process::Stdio::piped())
            .start();
        holder.says("locked");
        let output = bed.flinkctl(["session", "stop", "etl"]);
        let says = [
            "another command is changing this session",
            "--> h1",
            "ops@elsewhere pid 7: flinkctl session stop etl",
        ];
        refused(output, 8, "lock.held", &says);
        drop(holder);
        bed.flinkctl(["session", "stop", "etl"]).fine();
        bed.nothing_left(PATIENCE, Traces::None);
    });
}

#[test]
fn jobs_that_are_unknown_or_not_clear() {
    in_testbed(&on_hosts(1), |bed| {
        for verb in ["status", "wait", "cancel", "logs"] {
            let says = ["there is no job `0000`", "flinkctl job list -a"];
            refused(bed.flinkctl(["job", verb, "0000"]), 9, "job.not-found", &says);
            // An unset variable in a script names no job, least of all the only one.
            let output = bed.flinkctl(["job", verb, ""]).exits(2);
            let _output = output.reports(&["a value is required for '<ID>'"]);
        }
        bed.flinkctl(["session", "start", "etl", "-d"]).fine();
        let run = ["job", "run", "--session", "etl", "-d", "-o", "name", &bed.wordcount()];
        let ids = [word_of(bed, &run), word_of(bed, &run)];
        let common = ids[0].bytes().zip(ids[1].bytes()).take_while(|(a, b)| a == b).count();
        let prefix = &ids[0][..common];
        let what = format!("2 jobs have an id that begins with `{prefix}`");
        let says = [what.as_str(), &ids[0], &ids[1], "flinkctl job list -a"];
        refused(bed.flinkctl(["job", "status", prefix]), 2, "job.ambiguous", &says);
        let output = bed.flinkctl(["-o", "json", "job", "cancel", prefix]).exits(2);
        let error: Value = serde_json::from_str(&output.stderr).expect("JSON and nothing else");
        assert_eq!(error["code"], "job.ambiguous");
        for id in &ids {
            let _output = bed.flinkctl(["job", "wait", id]).fine();
        }
        let ended = bed.flinkctl(["job", "cancel", &ids[0]]).exits(8);
        let _output = ended.reports(&["error[job.ended]", "has ended already: FINISHED"]);
        let listed = bed.json(&["job", "list", "-a"]);
        assert_eq!(listed["items"].as_array().map(Vec::len), Some(2), "{listed}");
        bed.flinkctl(["session", "stop", "etl"]).fine();
        let ended = bed.flinkctl(["job", "cancel", &ids[0]]).exits(8);
        let _output = ended.reports(&["error[job.ended]"]);
        bed.nothing_left(PATIENCE, Traces::Archive);
    });
}

//! Jobs that ask for what is not there: inputs, outputs, slots, ports.

use flink_tests::{Bed, Output, PATIENCE, Running, Traces, in_testbed, on_hosts};

use super::{failed, on_host, refused, word_of};

fn count(bed: &Bed, args: &[&str]) -> Output {
    bed.flinkctl([&["job", "run", &bed.wordcount(), "--"], args].concat())
}

#[test]
fn an_input_that_only_the_operator_has() {
    in_testbed(&on_hosts(2), |bed| {
        let input = "/root/only-here";
        std::fs::write(input, "a text\n").expect("a file");
        let output = count(bed, &["--input", input]);
        std::fs::remove_file(input).expect("a file");
        let says = [
            "--> Source: text",
            ", on h",
            "could not read /root/only-here: No such file or directory",
        ];
        let output = failed(output, 5, "job.failed", &says);
        assert_eq!(output.stdout, "");
        bed.nothing_left(PATIENCE, Traces::None);
    });
}

#[test]
fn an_output_that_exists() {
    in_testbed(&on_hosts(2), |bed| {
        for host in ["h1", "h2"] {
            on_host(bed, host, "mkdir /root/out && echo precious > /root/out/file");
            let output = count(bed, &["--output", "/root/out"]);
            let says = [
                "operator Sink: files",
                &format!("on {host}"),
                "the output path /root/out exists and is not an empty directory",
            ];
            failed(output, 5, "job.failed", &says);
            let kept = on_host(bed, host, "cat /root/out/*; rm -r /root/out").word();
            assert_eq!(kept, "precious");
            bed.nothing_left(PATIENCE, Traces::None);
        }
    });
}

#[test]
fn more_slots_than_there_are() {
    in_testbed(&on_hosts(2), |bed| {
        let output = bed.flinkctl(["job", "run", "-p", "100", &bed.wordcount()]);
        let says = [
            "job \"wordcount\" needs 100 slots, the cluster can offer 4",
            "2 TaskManagers with 4 slots in all; nothing was started",
            "largest vertex: `split -> local count` with parallelism 100",
            "help: -p 4",
        ];
        let output = refused(output, 4, "slots.insufficient", &says);
        assert!(!output.stderr.contains("Started"), "{}", output.everything());
        bed.nothing_left(PATIENCE, Traces::None);
    });
}

#[test]
fn slots_that_another_job_has() {
    in_testbed(&on_hosts(2), |bed| {
        bed.flinkctl(["session", "start", "etl", "-d"]).fine();
        let busy = ["job", "run", "--session", "etl", "-d", "-o", "name", "-p", "3"];
        let id = word_of(
            bed,
            &[&busy[..], &[&bed.misbehave(), "--", "--source-ms", "100"]].concat(),
        );
        bed.wait_for_job(&id, "RUNNING");
        let run = |more: &[&str]| {
            let args = ["job", "run", "--session", "etl", "--slot-timeout", "1s"];
            bed.flinkctl([&args, more, &[&bed.wordcount()]].concat())
        };
        let says = [
            "job \"wordcount\" needs 4 slots, the cluster can offer 1",
            "2 TaskManagers with 4 slots | 3 used by job ",
            "waited ",
            "help: -p 1",
        ];
        refused(run(&["-p", "4"]), 4, "slots.insufficient", &says);
        let says = ["needs 100 slots, the cluster can offer"];
        refused(run(&["-p", "100"]), 4, "slots.insufficient", &says);
        let _output = run(&["-p", "1"]).fine();
        bed.flinkctl(["session", "stop", "etl"]).fine();
        bed.nothing_left(PATIENCE, Traces::Archive);
    });
}

/// Somebody else's process that has a UDP port of h1.
fn squat(bed: &Bed, port: u16) -> Running {
    let script = format!(
        "import socket\n\
         taken = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
         taken.bind(('0.0.0.0', {port}))\n\
         print('bound', flush=True)\n\
         input()"
    );
    let mut squatter = bed
        .exec_command("h1", &["python3", "-c", &script])
        .stdin(std::process::Stdio::piped())
        .start();
    squatter.says("bound");
    squatter
}

#[test]
fn ports_that_are_taken() {
    in_testbed(&on_hosts(2), |bed| {
        let squatter = squat(bed, 7777);
        let with = |key: &str| bed.flinkctl(["job", "run", "-D", key, &bed.wordcount()]);
        let says = [
            "h1: UDP port 7777 is taken",
            "--> h1",
            "by pid ",
            " `python3 -c import socket",
            "rpc_port = 0",
        ];
        refused(with("jobmanager.rpc_port=7777"), 8, "port.in-use", &says);
        let output = bed.flinkctl(["session", "start", "s", "-d", "-D", "jobmanager.rpc_port=7777"]);
        refused(output, 8, "port.in-use", &says);
        let at = ["-d", "-D", "jobmanager.rpc_port=7778"];
        let start = |name: &str| bed.flinkctl([&["session", "start", name], &at[..]].concat());
        start("first").fine();
        let says = ["of session \"first\"", "flinkctl session stop first"];
        refused(start("second"), 8, "port.in-use", &says);
        bed.flinkctl(["session", "stop", "first"]).fine();
        let says = [
            "on h1",
            "no free UDP port in 7777-7777",
            "widen [taskmanager] data_ports",
        ];
        failed(with("taskmanager.data_ports=7777-7777"), 5, "job.failed", &says);
        drop(squatter);
        let _output = with("taskmanager.data_ports=7777-7777").fine();
        bed.nothing_left(PATIENCE, Traces::None);
    });
}

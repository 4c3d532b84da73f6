//! Login shells and login files that are not what one would wish for.

use flink_tests::{Bed, PATIENCE, Traces, in_testbed, on_hosts, read_counts};

use super::{on_host, refused};

fn counts(bed: &Bed) {
    let run = bed.flinkctl(["job", "run", &bed.wordcount()]).fine();
    assert_eq!(read_counts(&run.stdout)["count"], 5, "{}", run.everything());
}

/// Where a login shell of ours is nobody's leftover.
const SHELL: &str = "/root/.ssh/login-shell";

/// Makes a script the login shell of a host.
fn login_shell(bed: &Bed, host: &str, script: &str) {
    let set = format!(
        "cat > {SHELL} && chmod 755 {SHELL}\n\
         sed -i 's#^\\(root:.*:\\)[^:]*$#\\1{SHELL}#' /etc/passwd"
    );
    on_host(bed, host, &format!("{{ {set}\n}} <<'END'\n{script}\nEND"));
}

#[test]
fn noisy_login_files_do_no_harm() {
    in_testbed(&on_hosts(2), |bed| {
        for host in ["h1", "h2"] {
            let noise = "echo Welcome to $(hostname); echo be careful >&2; printf 'no line feed'";
            on_host(bed, host, &format!("echo \"{noise}\" > /root/.bashrc"));
        }
        counts(bed);
        for host in ["h1", "h2"] {
            on_host(bed, host, "rm /root/.bashrc");
        }
        bed.nothing_left(PATIENCE, Traces::None);
    });
}

/// csh and fish take `-c COMMAND` and little else of what a POSIX shell takes.
#[test]
fn login_shells_of_other_kinds_do() {
    in_testbed(&on_hosts(2), |bed| {
        let script = "#!/bin/bash\n\
            echo Welcome to a strange shell\n\
            [ $# = 2 ] && [ \"$1\" = -c ] || exit 1\n\
            case $2 in *[\\'\\$\\`\\;\\&\\\"]*) echo 'Illegal variable name.' >&2; exit 1;; esac\n\
            eval \"$2\"";
        for host in ["h1", "h2"] {
            login_shell(bed, host, script);
        }
        counts(bed);
        bed.nothing_left(PATIENCE, Traces::None);
    });
}

#[test]
fn login_shells_that_end_at_once_are_named() {
    in_testbed(&on_hosts(2), |bed| {
        login_shell(bed, "h2", "#!/bin/sh\necho This account is not available. >&2\nexit 1");
        let output = bed.flinkctl(["job", "run", &bed.wordcount()]);
        let says = [
            "h2: the login shell ended before it did anything: This account is not available.",
            "ssh h2 exec sh -s",
        ];
        refused(output, 3, "ssh.bootstrap", &says);
        bed.nothing_left(PATIENCE, Traces::None);
    });
}

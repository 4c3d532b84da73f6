# Starting and stopping one background process by hand; sourced by the scripts beside it.
#
# A process is known by its pid and its start time (field 22 of /proc/PID/stat), so that a pid that was given to somebody
# else in the meantime is never signalled. Under a service manager none of this is needed: let it run
# `flinkctl jobmanager` or `flinkctl taskmanager` in the foreground and stop it with SIGTERM.

flinkctl=${FLINKCTL:-flinkctl}
run_dir=${FLINKCTL_RUN_DIR:-$HOME/.local/state/flinkctl}
stop_seconds=${FLINKCTL_STOP_SECONDS:-60}

die() {
    echo "$0: $*" >&2
    exit 1
}

# Start time of process $1; nothing when there is none. The command name before it may hold blanks and parentheses.
start_time() {
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
    # shellcheck disable=SC2086  # the fields are meant to be split
    set -- ${stat##*) }
    [ "$1" != Z ] || return 1
    echo "${20}"
}

# Sets `pid` when the process of this role runs.
find_running() {
    [ -r "$run_dir/$role.pid" ] || return 1
    read -r pid started <"$run_dir/$role.pid"
    [ "$(start_time "$pid")" = "$started" ]
}

# wait_for SECONDS COMMAND...: until the command succeeds.
wait_for() {
    tries=$(($1 * 10))
    shift
    while [ "$tries" -gt 0 ]; do
        "$@" && return 0
        tries=$((tries - 1))
        sleep 0.1
    done
    return 1
}

gone() { ! find_running; }

started_or_gone() { is_up || gone; }

# Everything after the verb goes to `flinkctl $role`.
start() {
    find_running && die "a $role runs already (pid $pid)"
    (umask 077 && mkdir -p "$run_dir") || die "cannot make $run_dir"
    log=$run_dir/$role.log
    # Not for everything: what jobs write has the umask of whoever calls this script.
    (umask 077 && : >>"$log") || die "cannot write $log"
    before_start "$@"
    setsid "$flinkctl" "$role" "$@" </dev/null >>"$log" 2>&1 &
    pid=$!
    started=$(start_time "$pid")
    (umask 077 && echo "$pid $started" >"$run_dir/$role.pid")
    wait_for 60 started_or_gone || die "the $role is not up after 60 s; see $log"
    gone && {
        tail -n 20 "$log" >&2
        rm -f "$run_dir/$role.pid"
        die "the $role ended at once; see $log"
    }
    echo "$role is up (pid $pid), log: $log"
}

stop() {
    find_running || {
        rm -f "$run_dir/$role.pid"
        echo "no $role runs"
        return 0
    }
    kill "$pid"
    wait_for "$stop_seconds" gone || {
        echo "$role $pid did not end within $stop_seconds s; killing it" >&2
        kill -9 "$pid"
        wait_for 10 gone || die "$role $pid does not end"
    }
    rm -f "$run_dir/$role.pid"
    echo "$role is stopped"
}

status() {
    if find_running; then
        echo "$role runs (pid $pid), log: $run_dir/$role.log"
    else
        echo "no $role runs"
        return 3
    fi
}

main() {
    [ $# -gt 0 ] || set -- help
    verb=$1
    shift
    case $verb in
        start) start "$@" ;;
        stop) stop ;;
        status) status ;;
        *)
            usage
            [ "$verb" = help ] || exit 2
            ;;
    esac
}

"""Inside of the test bed: hosts, their processes, flinkctl, sessions and the CPU time of their workers."""

import contextlib
import json
import os
import subprocess
import sys
import time

TICKS = os.sysconf("SC_CLK_TCK")


def example(name):
    return os.path.join(binaries(), "examples", name)


def binaries():
    """The test bed puts them first on PATH."""
    return os.environ["PATH"].split(":")[0]


def say(text):
    """What is going on, for who waits."""
    print(f"bench: {text}", file=sys.stderr, flush=True)


def testbed(*arguments):
    return subprocess.run([os.environ["TESTBED"], *arguments], stdout=subprocess.PIPE, text=True, check=True).stdout


def hosts():
    return [row["name"] for row in map(json.loads, testbed("hosts", "--json").splitlines()) if row["name"].startswith("h")]


def addresses():
    return {row["name"]: row["address"] for row in map(json.loads, testbed("hosts", "--json").splitlines())}


def cores():
    """The share of this machine's cores that each host gets, as `taskset` takes it: real hosts do not take turns on a core."""
    usable, names = sorted(os.sched_getaffinity(0)), hosts()
    if len(usable) < len(names):
        return {name: ",".join(map(str, usable)) for name in names}
    return {name: ",".join(map(str, usable[number::len(names)])) for number, name in enumerate(names)}


def bind_to_cores():
    """Every host to its own: what its sshd starts from now on runs there."""
    for name, share in cores().items():
        for it in processes(name):
            if it["name"] == "sshd":
                testbed("exec", name, "--", "taskset", "-cp", share, str(it["pid"]))


def processes(host):
    return [json.loads(line) for line in testbed("ps", host, "--json").splitlines()]


def flinkctl_processes(host, command):
    return [it for it in processes(host) if it["args"][:2] == ["flinkctl", command]]


def leftovers():
    """Processes that have no business on the hosts when no cluster is up."""
    expected = ("init", "sleep", "sshd", "sshd-session", "sh")
    return [f"{host}: {' '.join(it['args'])}" for host in hosts() for it in processes(host) if it["name"] not in expected]


def timed(command, **more):
    """Seconds from command to prompt, and what it said."""
    start = time.perf_counter()
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)
    seconds = time.perf_counter() - start
    if done.returncode != 0:
        sys.stderr.write(done.stderr)
        raise subprocess.CalledProcessError(done.returncode, command)
    return seconds, done


def ssh_to_all(names):
    """Seconds of `ssh host true` to all of them at the same time."""
    start = time.perf_counter()
    running = [subprocess.Popen(["ssh", name, "true"], stdin=subprocess.DEVNULL) for name in names]
    codes = [it.wait() for it in running]
    if any(codes):
        raise subprocess.CalledProcessError(max(codes), ["ssh", "...", "true"])
    return time.perf_counter() - start


@contextlib.contextmanager
def session(*options):
    """A session that keeps its TaskManagers; yields the seconds that its start took."""
    seconds, _ = timed(["flinkctl", "session", "start", "-d", "-D", "taskmanager.idle_timeout=1h", *options])
    try:
        yield seconds
    finally:
        timed(["flinkctl", "session", "stop", "default"])


def run_in_session(program, *arguments, parallelism=None, options=()):
    """Runs a job; returns its output lines, what `-o json` says of it, and the CPU seconds of its workers."""
    before = workers_cpu()
    parallel = ["-p", str(parallelism)] if parallelism else []
    command = ["flinkctl", "-o", "json", "job", "run", "--session", "default", *parallel, *options, program, "--", *arguments]
    seconds, done = timed(command)
    output, brace, document = done.stdout.partition("{\n")
    job = json.loads(brace + document)
    job["seconds"] = seconds
    after = workers_cpu()
    return output.splitlines(), job, sum(after.values()) - sum(before.get(key, 0) for key in after)


def workers_cpu():
    """User and system seconds of all workers that have ended, by TaskManager: the kernel adds them up in the parent, to the
    last tick, when it is told of their end. Waits until no worker is left."""
    found = {}
    for host in hosts():
        for task_manager in flinkctl_processes(host, "taskmanager"):
            pid = task_manager["pid"]
            for _ in range(500):
                if not any(it["ppid"] == pid for it in processes(host)):
                    break
                time.sleep(0.02)
            stat = testbed("exec", host, "--", "cat", f"/proc/{pid}/stat")
            # After the name, which may hold anything: state, ppid, ..., cutime and cstime are fields 16 and 17 of all.
            fields = stat.rpartition(")")[2].split()
            found[host, pid] = (int(fields[13]) + int(fields[14])) / TICKS
    return found


def network_bytes(job):
    return sum(channel["bytes"] for channel in job["channels"] if channel["transport"] == "quic")

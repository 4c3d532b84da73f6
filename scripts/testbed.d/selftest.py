"""`testbed self-test`: checks of the test bed itself, from outside of it. Those on ops are in selftest_inside.py."""

import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

import processes

SCRIPT = ""


def command(*arguments, cmd):
    return [sys.executable, SCRIPT, "run", *arguments, "--", *cmd]


def bed(*arguments, cmd, **options):
    return subprocess.run(command(*arguments, cmd=cmd), capture_output=True, text=True, timeout=60, **options)


def start(*arguments, cmd, **options):
    """A test bed in the background, once its CMD has written its first line."""
    process = subprocess.Popen(command(*arguments, cmd=cmd), stdout=subprocess.PIPE, text=True, **options)
    assert process.stdout.readline() == "ready\n", process.poll()
    return process


def machine():
    """What must be the same before, during and after a test bed."""
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True).stdout.splitlines()
    with open("/proc/self/mounts", encoding="utf-8") as file:
        mounts = file.read()
    files = [name for name in os.listdir(tempfile.gettempdir()) if name.startswith("testbed-")]
    return [line.split(":")[1] for line in links], mounts, sorted(os.listdir("/run")), sorted(files), cgroups()


def cgroups():
    with open("/proc/self/mounts", encoding="utf-8") as file:
        roots = [line.split()[1] for line in file if line.split()[2] == "cgroup2"]
    return [path for root in roots for path, _, _ in os.walk(root) if "/testbed-" in path]


def offspring(root):
    """All processes below this one, in all namespaces, with their start times: pids alone may be reused."""
    found = {root}
    parents = {pid: processes.parent(pid) for pid in processes.all_pids()}
    while True:
        more = {pid for pid, parent in parents.items() if parent in found} - found
        if not more:
            return {(pid, start_time(pid)) for pid in found - {root}}
        found |= more


def start_time(pid):
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[19]
    except OSError:
        return None


def until_gone(found, seconds=3.0):
    deadline = time.monotonic() + seconds
    while True:
        left = [pid for pid, started in found if started and start_time(pid) == started]
        if not left:
            return
        assert time.monotonic() < deadline, f"left over: {[processes.describe(pid) for pid in left]}"
        time.sleep(0.01)


def until_unchanged(before, seconds=3.0):
    deadline = time.monotonic() + seconds
    while machine() != before:
        assert time.monotonic() < deadline, f"before {before}, after {machine()}"
        time.sleep(0.02)


def check_exit_code_and_streams():
    assert bed("--hosts", "1", cmd=["true"]).returncode == 0
    done = bed("--hosts", "1", cmd=["sh", "-c", "cat; echo err >&2; exit 42"], input="in\n")
    assert (done.returncode, done.stdout, done.stderr) == (42, "in\n", "err\n"), done
    assert bed("--hosts", "1", cmd=["sh", "-c", "kill -9 $$"]).returncode == 137
    done = bed("--hosts", "1", cmd=["/no/such/program"])
    assert done.returncode == 127 and "No such file" in done.stderr, done


def check_environment_of_the_command():
    with tempfile.TemporaryDirectory() as directory:
        text = 'pwd; echo "$HOME $TESTBED_MODE $TESTBED_DIR $TESTBED_SHARED $FLINKCTL_CLUSTER_FILE $X"; umask; ls /tmp'
        done = bed("--hosts", "1", cmd=["sh", "-c", text], cwd=directory, env={**os.environ, "X": "a b"}, umask=0o027)
        lines = done.stdout.splitlines()
        assert lines[0] == directory, done
        assert lines[1] == "/root namespaces /run/testbed /run/testbed/shared /run/testbed/cluster.toml a b", lines
        assert lines[2:] == ["0027", os.path.basename(directory)], lines


def check_signals_reach_the_command_once():
    text = "trap 'echo int' INT; trap 'echo term; exit 3' TERM; echo ready; while :; do sleep 0.01; done"
    process = start("--hosts", "1", cmd=["sh", "-c", text])
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "int\n"
    process.send_signal(signal.SIGTERM)
    assert (process.stdout.read(), process.wait(10)) == ("term\n", 3)
    # A child of the command gets it as well: a shell would wait for it.
    process = start("--hosts", "1", cmd=["sh", "-c", "echo ready; sleep 60; exit 1"], stderr=subprocess.DEVNULL)
    process.terminate()
    assert process.wait(10) == 143
    process.stdout.close()


def check_terminal():
    text = "trap 'echo int' INT; test -t 0 && echo ready; read line; echo got $line"
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, command("--hosts", "1", cmd=["bash", "-c", text]))
    seen = _read_until(terminal, b"ready")
    for keys, answer in ((b"\x03", b"int"), (b"\x1a", b""), (b"word\r", b"got word")):
        os.write(terminal, keys)
        seen = _read_until(terminal, answer)
        assert seen.count(b"int") <= 1, seen
    assert os.waitpid(pid, 0)[1] == 0
    os.close(terminal)


def _read_until(terminal, wanted, seconds=10):
    data = b""
    deadline = time.monotonic() + seconds
    while wanted not in data:
        ready, _, _ = select.select([terminal], [], [], max(0, deadline - time.monotonic()))
        assert ready, f"waited for {wanted!r}, saw {data!r}"
        data += os.read(terminal, 4096)
    return data


def check_nothing_appears_on_the_machine():
    before = machine()
    process = start(cmd=["sh", "-c", "echo ready; cat"], stdin=subprocess.PIPE)
    assert machine() == before
    found = offspring(process.pid)
    assert len(found) > 9
    process.communicate("")
    until_gone(found, 0.5)
    assert process.returncode == 0 and machine() == before


def check_nothing_is_left_after_sigkill():
    before = machine()
    text = "ssh h1 'setsid -f sleep 99 > /dev/null 2>&1'; $TESTBED freeze h2; echo ready; sleep 99"
    process = start(cmd=["sh", "-c", text])
    assert cgroups() or not machine()[-1]
    found = offspring(process.pid)
    process.kill()
    process.wait()
    until_gone(found)
    until_unchanged(before)
    process.stdout.close()


def check_nothing_is_left_when_it_ends_during_boot():
    before = machine()
    kill, terminate, interrupt = signal.SIGKILL, signal.SIGTERM, signal.SIGINT
    for number, delay in ((kill, 0.1), (kill, 0.2), (kill, 0.3), (terminate, 0.1), (interrupt, 0.2)):
        process = subprocess.Popen(command("--hosts", "5", cmd=["sleep", "99"]), stderr=subprocess.PIPE, text=True)
        time.sleep(delay)
        found = offspring(process.pid)
        process.send_signal(number)
        code = process.wait(5)
        assert code in (-number, 128 + number), (code, process.stderr.read())
        until_gone(found)
        process.stderr.close()
    until_unchanged(before)


def check_two_at_a_time():
    text = "ssh h2 hostname; cat; touch $TESTBED_SHARED/x; ls $TESTBED_SHARED"
    both = [
        subprocess.Popen(command(cmd=["sh", "-c", text]), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for process in both:
        assert process.communicate("")[0] == "h2\nx\n" and process.returncode == 0


def check_jump_host():
    text = """
        ssh -o ConnectTimeout=1 root@10.77.1.1 true 2>/dev/null && echo direct
        ssh jump hostname
        ssh -J root@10.77.0.253 root@10.77.1.2 hostname
        ssh -F $TESTBED_DIR/ssh_config h1 ssh h2 hostname
        $TESTBED exec h1 -- ssh -o ConnectTimeout=1 root@10.77.0.254 true 2>/dev/null && echo direct
        grep jump $FLINKCTL_CLUSTER_FILE; grep -c 'address = "10.77.1' $FLINKCTL_CLUSTER_FILE
        $TESTBED partition ops jump; ssh -o ConnectTimeout=1 jump true 2>/dev/null && echo direct; $TESTBED heal
        ssh jump hostname
    """
    done = bed("--jump", "--hosts", "2", cmd=["sh", "-c", text])
    assert done.stdout == 'jump\nh2\nh2\njump = ["root@10.77.0.253"]\n2\njump\n', done


def check_mtu():
    text = """
import socket
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.setsockopt(socket.IPPROTO_IP, 10, 2)  # IP_MTU_DISCOVER, IP_PMTUDISC_DO
for size in (1472, 8972, 8973):
    try:
        print(size, sock.sendto(bytes(size), ("10.77.0.1", 9)) == size)
    except OSError:
        print(size, False)
"""
    for mtu, expected in (
        ("1500", "1472 True\n8972 False\n8973 False\n"),
        ("9000", "1472 True\n8972 True\n8973 False\n"),
    ):
        assert bed("--hosts", "1", "--mtu", mtu, cmd=["python3", "-c", text]).stdout == expected


def check_disk_limit():
    fill = "sh -c 'head -c 9000000 /dev/zero > /tmp/x' 2>/dev/null"
    text = f"for host in h1 h2; do $TESTBED exec $host -- {fill}; echo $?; done"
    assert bed("--hosts", "2", "--disk-limit", "h2=8M", cmd=["sh", "-c", text]).stdout == "0\n1\n"
    assert bed("--disk-limit", "h9=1M", cmd=["true"]).returncode == 2


def check_forty_hosts():
    text = "date +%s.%N; for i in 1 20 40; do ssh h$i hostname; done"
    begin = time.time()
    done = bed("--hosts", "40", cmd=["sh", "-c", text])
    up, *names = done.stdout.splitlines()
    assert names == ["h1", "h20", "h40"], done
    assert float(up) - begin < 10, f"40 hosts took {float(up) - begin:.1f} s"


def check_loopback_mode():
    before = machine()
    text = """
        echo $TESTBED_MODE; ssh -F $TESTBED_DIR/ssh_config h2 'echo $TESTBED_HOST; setsid -f sleep 99 > /dev/null 2>&1'
        $TESTBED power-off h2; echo $?; $TESTBED ps h2 --json | grep -c '"sleep", "99"'; echo $TESTBED_DIR; exit 5
    """
    runs = [[]]
    with tempfile.TemporaryDirectory() as directory:
        if os.geteuid() == 0:
            runs.append(_as_nobody(directory))
        for prefix in runs:
            environ = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/nonexistent"}
            cmd = [*prefix, SCRIPT, "run", "--mode", "loopback", "--", "sh", "-c", text]
            done = subprocess.run(cmd, env=environ, cwd="/", capture_output=True, text=True)
            *lines, state = done.stdout.splitlines() or [""]
            assert (done.returncode, lines) == (5, ["loopback", "h2", "69", "1"]), done
            assert not os.path.exists(state), state
    process = start("--mode", "loopback", cmd=["sh", "-c", "setsid -f sleep 99; echo ready; sleep 99"])
    found = offspring(process.pid)
    process.kill()
    process.wait()
    until_gone(found)
    process.stdout.close()
    deadline = time.monotonic() + 3
    while machine()[3] != before[3]:
        assert time.monotonic() < deadline, machine()[3]
        time.sleep(0.01)


def _as_nobody(directory):
    """A command prefix: nobody, with a shell that lets it log in. In a mount namespace, the machine's user has none."""
    with open("/etc/passwd", encoding="utf-8") as file:
        text = file.read().replace("/nonexistent:/usr/sbin/nologin", "/nonexistent:/bin/sh")
    with open(f"{directory}/passwd", "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(f"{directory}/passwd", 0o644)
    become = 'exec setpriv --reuid nobody --regid nogroup --clear-groups -- "$@"'
    return ["unshare", "-m", "sh", "-c", f"mount --bind {directory}/passwd /etc/passwd && {become}", "sh"]


def check_missing_tools_are_named():
    python = os.path.realpath(sys.executable)
    with tempfile.TemporaryDirectory() as directory:
        for name in ("ssh", "ssh-keygen", "ip", "bridge", "nsenter"):
            os.symlink(shutil.which(name, path="/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"), f"{directory}/{name}")
        text = (
            f"import sys; sys.path.insert(0, {os.path.dirname(__file__)!r}); import os, run, plan\n"
            f"os.environ['PATH'] = {directory!r}; run.SBIN = ''\n"
            "try: run.check_tools(run.NEEDED)\nexcept plan.TestbedError as error: print(error.code, error)"
        )
        done = subprocess.run([python, "-B", "-c", text], capture_output=True, text=True)
        assert done.stdout.startswith("69 not installed: sshd\nhelp: apt-get install"), done


def inside(wanted):
    """Runs the checks on ops in one test bed, with a `flinkctl` that is none; yields their results."""
    with tempfile.TemporaryDirectory() as directory:
        with open(f"{directory}/flinkctl", "w", encoding="ascii") as file:
            file.write("#!/bin/sh\n")
        os.chmod(f"{directory}/flinkctl", 0o755)
        environ = {**os.environ, "TESTBED_BIN": directory}
        process = subprocess.Popen(
            command(cmd=[SCRIPT, "self-test", "--inside", *wanted]), stdout=subprocess.PIPE, text=True, env=environ
        )
        for line in process.stdout:
            yield json.loads(line)
        if process.wait() != 0:
            yield {"name": "inside", "seconds": 0, "failure": f"exit code {process.returncode}\n"}


def outside(wanted):
    for name, check in list(globals().items()):
        if name.startswith("check_") and (not wanted or any(word in name for word in wanted)):
            begin = time.monotonic()
            failure = ""
            try:
                check()
            except Exception:
                failure = traceback.format_exc()
            yield {"name": name[6:], "seconds": time.monotonic() - begin, "failure": failure}


def main(script, wanted):
    global SCRIPT
    SCRIPT = script
    passed = failed = 0
    for results in (outside(wanted), inside(wanted)):
        for result in results:
            failed += bool(result["failure"])
            passed += not result["failure"]
            print(
                f"{'FAILED' if result['failure'] else 'ok':6} {result['seconds']:5.1f} s  {result['name']}", flush=True
            )
            print(result["failure"], end="", flush=True)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0

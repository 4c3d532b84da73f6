"""Checks that run on ops, within one test bed of three hosts. Each is a function `check_*`; see selftest.py."""

import json
import os
import select
import shutil
import socket
import subprocess
import time
import traceback

SCRIPT = ""
ADDRESS = {f"h{number}": f"10.77.0.{number}" for number in range(1, 10)}


def testbed(*arguments, check=True, **options):
    """Runs a sub-command; returns its standard output, or the finished process without `check`."""
    done = subprocess.run([SCRIPT, *arguments], capture_output=True, text=True, timeout=30, **options)
    if not check:
        return done
    assert done.returncode == 0, f"{' '.join(arguments)}: exit {done.returncode}: {done.stderr}"
    return done.stdout


def on(host, command):
    return testbed("exec", host, "--", "sh", "-c", command).strip()


def rows(*arguments):
    return [json.loads(line) for line in testbed(*arguments, "--json").splitlines()]


def state(host):
    return next(row["state"] for row in rows("hosts") if row["name"] == host)


class Script:
    """A Python program on a host that answers lines, with a time limit for each."""

    def __init__(self, host, text):
        self.process = subprocess.Popen(
            [SCRIPT, "exec", host, "--", "python3", "-u", "-c", text],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def line(self, seconds=10.0):
        """The next line, or None after so much silence."""
        ready, _, _ = select.select([self.process.stdout], [], [], seconds)
        return self.process.stdout.readline().strip() if ready else None

    def say(self, text):
        self.process.stdin.write(f"{text}\n")

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


SERVER = """
import socket
server = socket.create_server(("0.0.0.0", 7000))
print("ready")
held = []
while True:
    held.append(server.accept()[0])
    held[-1].sendall(b"hello")
"""
# Counts every frame with the given source MAC address, for as long as it is asked.
SNIFFER = """
import select, socket, sys
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
wire.bind(("eth0", 0))
print("ready")
wanted = bytes.fromhex(sys.stdin.readline().strip().replace(":", ""))
while select.select([wire], [], [], 0)[0]:
    wire.recv(65536)
print("counting")
count = 0
while True:
    ready = select.select([wire, sys.stdin], [], [])[0]
    if wire in ready and wire.recv(65536)[6:12] == wanted:
        count += 1
    if sys.stdin in ready:
        sys.stdin.readline()
        print(count)
"""


def check_hosts_are_isolated():
    for host in ("h1", "h2", "h3"):
        assert on(host, "hostname") == host
        on(host, f"echo {host} | tee /root/x /tmp/x /var/tmp/x /dev/shm/x /run/x /opt/x /etc/testbed-x > /dev/null")
    for host in ("h1", "h2", "h3"):
        assert set(on(host, "cat /root/x /tmp/x /var/tmp/x /dev/shm/x /run/x /opt/x /etc/testbed-x").split()) == {host}
    for path in ("/root/x", "/tmp/x", "/opt/x", "/etc/testbed-x"):
        assert not os.path.exists(path), f"{path} is visible on ops"
    for command in ("cat /etc/machine-id", "cat /proc/sys/kernel/random/boot_id", "cat /etc/ssh/ssh_host_*_key.pub"):
        assert len({on(host, command) for host in ("h1", "h2", "h3")}) == 3, command
    assert on("h1", "ls /sys/class/net") == "eth0\nlo"
    assert on("h1", "cat /proc/1/cmdline").startswith("init")


def check_nothing_is_preinstalled():
    assert shutil.which("flinkctl"), "flinkctl is not on the PATH of ops"
    repository = os.path.dirname(os.path.dirname(SCRIPT))
    assert on("h2", f"command -v flinkctl; ls -A {repository}; ls -A /root/.cargo 2>&1 | grep -v No.such || true") == ""
    assert subprocess.run(["ssh", "h2", "command -v flinkctl"], capture_output=True, text=True).stdout == ""


def check_shared_directory():
    shared = os.environ["TESTBED_SHARED"]
    on("h1", f"echo 1 > {shared}/from-h1")
    with open(f"{shared}/from-h1", encoding="ascii") as file:
        assert file.read() == "1\n"
    assert on("h3", f"cat {shared}/from-h1") == "1"


def check_ssh_from_everywhere_to_everywhere():
    loop = "for host in h1 h2 h3; do ssh $host hostname || exit; done"
    started = [
        subprocess.Popen([SCRIPT, "exec", host, "--", "sh", "-c", loop], stdout=subprocess.PIPE, text=True)
        for host in ("ops", "h1", "h2", "h3")
    ]
    for process in started:
        assert process.communicate()[0] == "h1\nh2\nh3\n" and process.returncode == 0
    environ = subprocess.run(["ssh", "h1", "env"], capture_output=True, text=True)
    assert environ.stderr == "", environ.stderr
    assert "HOME=/root" in environ.stdout and "pyenv" not in environ.stdout
    assert testbed("exec", "h1", "--", "ssh", "-6", "h2.ipv6", "hostname") == "h2\n"


def check_sshd_has_debians_defaults():
    settings = on("h1", "/usr/sbin/sshd -T").splitlines()
    for line in ("maxstartups 10:30:100", "maxsessions 10", "permitrootlogin without-password", "usepam yes"):
        assert line in settings, line


def check_cluster_file():
    with open(os.environ["FLINKCTL_CLUSTER_FILE"], encoding="utf-8") as file:
        text = file.read()
    assert text.count("[[host]]") == 3 and 'address = "10.77.0.3"' in text and "jump" not in text
    assert 'roles = ["jobmanager", "taskmanager"]' in text


def check_exec():
    assert testbed("exec", "h1", "--", "cat", input="a\0b") == "a\0b"
    assert testbed("exec", "h1", "--", "sh", "-c", "exit 7", check=False).returncode == 7
    assert testbed("exec", "h1", "--", "sh", "-c", "kill -9 $$", check=False).returncode == 137
    assert testbed("exec", "h1", "--", "no-such-program", check=False).returncode == 127
    assert testbed("exec", "h9", "--", "true", check=False).returncode == 2
    sleeper = subprocess.Popen([SCRIPT, "exec", "h1", "--", "sleep", "4711"])
    _until(lambda: _sleepers("h1", "4711") == 1)
    sleeper.kill()
    sleeper.wait()
    _until(lambda: _sleepers("h1", "4711") == 0)


def check_ps_and_orphans():
    on("h3", "(sleep 4712 & sleep 0.01 &) > /dev/null 2>&1")
    row = next(row for row in rows("ps", "h3") if row["args"] == ["sleep", "4712"])
    assert row["ppid"] == 1 and row["state"] == "S" and row["name"] == "sleep", row
    assert on("h3", "pgrep -x sleep -n 2>/dev/null || ps -C sleep -o pid= | tail -1").split()[-1] == str(row["pid"])
    time.sleep(0.1)
    assert [row for row in rows("ps", "h3") if row["state"] == "Z"] == []
    assert _sleepers("h1", "4712") == 0
    on("h3", f"kill {row['pid']}")


def check_power_off_is_silent_and_power_on_keeps_the_disk():
    on("h2", "echo kept > /root/kept; echo gone > /run/gone; (sleep 4713 &) > /dev/null 2>&1")
    before = on("h2", "cat /proc/sys/kernel/random/boot_id")
    server = Script("h2", SERVER)
    assert server.line() == "ready"
    client = socket.create_connection((ADDRESS["h2"], 7000))
    assert client.recv(5) == b"hello"
    sniffer = Script("ops", SNIFFER)
    assert sniffer.line() == "ready"
    sniffer.say("02:77:00:00:00:02")
    assert sniffer.line() == "counting"
    start = time.monotonic()
    testbed("power-off", "h2")
    took = time.monotonic() - start
    client.settimeout(0.7)
    client.send(b"are you there?")
    try:
        raise AssertionError(f"the connection ended: {client.recv(1)!r}")
    except socket.timeout:
        pass
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        datagrams.connect((ADDRESS["h2"], 9))
        datagrams.settimeout(0.2)
        datagrams.send(b"x")
        try:
            datagrams.recv(1)
        except socket.timeout:
            pass
    sniffer.say("")
    assert sniffer.line() == "0", "h2 was heard of after power-off"
    sniffer.close()
    assert server.process.wait(5) == 137
    assert state("h2") == "off" and rows("ps", "h2") == [] and took < 2
    assert testbed("exec", "h2", "--", "true", check=False).returncode == 1
    testbed("power-on", "h2")
    assert state("h2") == "up" and on("h2", "cat /root/kept; ls /run/gone 2>/dev/null || true") == "kept"
    assert on("h2", "cat /proc/sys/kernel/random/boot_id") != before and _sleepers("h2", "4713") == 0
    assert subprocess.run(["ssh", "h2", "hostname"], capture_output=True, text=True).stdout == "h2\n"
    client.close()
    server.close()


def check_partition_and_heal():
    servers = [Script(host, SERVER) for host in ("h1", "h2", "h3")]
    assert [server.line() for server in servers] == ["ready"] * 3
    assert _reachable("h1") == [{"ops", "h2", "h3"}]
    testbed("partition", "h1", "h2")
    assert _reachable("h1", "h2", "h3") == [{"ops", "h3"}, {"ops", "h3"}, {"ops", "h1", "h2"}]
    testbed("power-off", "h1")
    testbed("power-on", "h1")
    servers.append(Script("h1", SERVER))
    assert servers[-1].line() == "ready"
    assert _reachable("h1", "h2") == [{"ops", "h3"}, {"ops", "h3"}], "a partition survives power-off"
    testbed("heal", "h1", "h2")
    assert _reachable("h1") == [{"ops", "h2", "h3"}]
    testbed("partition", "h3")
    assert _reachable("h3", "h1", "ops") == [set(), {"ops", "h2"}, {"h1", "h2"}]
    assert on("h3", "cat /sys/class/net/eth0/carrier") == "1"
    testbed("heal")
    assert _reachable("h3") == [{"ops", "h1", "h2"}]
    for server in servers:
        server.close()


def check_an_open_connection_survives_a_short_partition():
    server = Script("h2", SERVER)
    assert server.line() == "ready"
    with socket.create_connection((ADDRESS["h2"], 7000)) as client:
        assert client.recv(5) == b"hello"
        testbed("partition", "ops", "h2")
        client.send(b"x")
        time.sleep(0.2)
        testbed("heal", "ops", "h2")
        _until(lambda: b"7000" in subprocess.run(["ss", "-tno"], capture_output=True).stdout, 1)
        _until(lambda: _unacknowledged() == 0, 5)
    server.close()


def check_freeze_and_thaw():
    ticker = Script("h1", "import time\nwhile True:\n    print('tick')\n    time.sleep(0.01)")
    assert ticker.line() == "tick"
    testbed("freeze", "h1")
    time.sleep(0.1)
    while ticker.line(0.05):
        pass
    assert state("h1") == "frozen" and ticker.line(0.3) is None
    # The kernel of a frozen host goes on: it accepts connections, and `exec` gets in.
    with socket.create_connection((ADDRESS["h1"], 22), 2) as client:
        client.settimeout(0.3)
        try:
            raise AssertionError(f"a frozen sshd spoke: {client.recv(1)!r}")
        except socket.timeout:
            pass
    assert on("h1", "hostname") == "h1"
    testbed("thaw", "h1")
    assert ticker.line() == "tick" and state("h1") == "up"
    testbed("freeze", "h1")
    testbed("power-off", "h1")
    testbed("power-on", "h1")
    assert on("h1", "hostname") == "h1"
    ticker.close()


def check_limit_disk():
    testbed("limit-disk", "h3", "--free", "1M")
    full = testbed("exec", "h3", "--", "sh", "-c", "head -c 3000000 /dev/zero > /root/big", check=False)
    assert full.returncode != 0 and "No space left" in full.stderr
    assert testbed("limit-disk", "h3", "4k", check=False).returncode == 1
    testbed("limit-disk", "h3", "0")
    on("h3", "head -c 3000000 /dev/zero > /root/big && rm /root/big")


def check_cargo_works_if_there_is_one():
    if os.path.isdir("/root/.cargo/bin"):
        subprocess.run(["cargo", "--version"], check=True, capture_output=True)


def _sleepers(host, seconds):
    return sum(row["args"] == ["sleep", seconds] for row in rows("ps", host))


def _unacknowledged():
    lines = subprocess.run(["ss", "-tnH", "dport", "=", ":7000"], capture_output=True, text=True).stdout.splitlines()
    return sum(int(line.split()[2]) for line in lines)


REACH = """
import selectors, socket, sys, time
names = {'ops': '10.77.0.254', 'h1': '10.77.0.1', 'h2': '10.77.0.2', 'h3': '10.77.0.3'}
names.pop(sys.argv[1])
selector = selectors.DefaultSelector()
for name, address in names.items():
    sock = socket.socket()
    sock.setblocking(False)
    sock.connect_ex((address, 7000))
    selector.register(sock, selectors.EVENT_WRITE, name)
end = time.monotonic() + 0.4
while time.monotonic() < end and selector.get_map():
    for key, _ in selector.select(0.05):
        error = key.fileobj.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        print(key.data if error in (0, 111) else f'{key.data}: error {error}')
        selector.unregister(key.fileobj)
"""


def _reachable(*hosts):
    """Whom each of these hosts can reach on TCP port 7000; ops, which serves nothing, answers with an RST."""
    started = [
        subprocess.Popen([SCRIPT, "exec", host, "--", "python3", "-c", REACH, host], stdout=subprocess.PIPE, text=True)
        for host in hosts
    ]
    return [set(process.communicate()[0].split("\n")[:-1]) for process in started]


def _until(condition, seconds=5.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not so within {seconds} s"
        time.sleep(0.01)


def main(script, wanted):
    """Prints one line of JSON per check."""
    global SCRIPT
    SCRIPT = script
    for name, check in list(globals().items()):
        if name.startswith("check_") and (not wanted or any(word in name for word in wanted)):
            start = time.monotonic()
            try:
                check()
                failure = ""
            except Exception:
                failure = traceback.format_exc()
            print(json.dumps({"name": name[6:], "seconds": time.monotonic() - start, "failure": failure}), flush=True)
            if failure:
                testbed("heal")
    return 0

"""The fallback without root: hosts are sshd's of the current user on 127.0.1.x, told apart by their ports and HOMEs.

They share processes, network and files, so nothing that needs a host of its own works here. The supervisor is a child
subreaper: whatever a host started, even a daemon, becomes its child at the latest when its own parent ends, and is
found and killed in the end. Processes carry TESTBED_HOST, by which `ps` tells whose they are.
"""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

import host as host_module
import kernel
import plan
import processes
import run
import supervisor

FIRST_PORT = 2222
LAST_PORT = 9999
SSHD_CONFIG = """\
ListenAddress {address}:{port}
HostKey {directory}/host_key
AuthorizedKeysFile {state}/keys/id_ed25519.pub
PidFile none
StrictModes no
UsePAM yes
KbdInteractiveAuthentication no
PasswordAuthentication no
PrintMotd no
SetEnv TESTBED_HOST={name} HOME={directory}/home
Subsystem sftp internal-sftp
"""


class Loopback:
    """The bed behind the supervisor, see there for the interface."""

    def __init__(self, bed_plan, state):
        self.plan = bed_plan
        self.hosts = bed_plan.hosts
        self.state = state
        self.user = pwd.getpwuid(os.getuid()).pw_name

    def boot(self):
        os.mkdir(f"{self.state}/keys")
        key = f"{self.state}/keys/id_ed25519"
        host_module.make_key(key, "testbed")
        if os.geteuid() == 0:
            os.makedirs("/run/sshd", exist_ok=True)  # As openssh-server's own start script does.
        for host in self.hosts.values():
            os.makedirs(f"{self.directory(host)}/home")
            host.state = "up"
            if host.name == "ops":
                host.address_override = "127.0.0.1"
            else:
                host.address_override = f"127.0.1.{host.cards[0].number}"
                host_module.make_key(f"{self.directory(host)}/host_key", host.name)
                self._start(host)
        known_hosts = f"{self.state}/known_hosts"
        workdir = f"{self.state}/hosts/{{host}}/flinkctl"
        toml = plan.cluster_toml(self.hosts, self.user, key, known_hosts, workdir)
        config = plan.ssh_config(self.hosts, self.user, key, known_hosts)
        for name, text in (("cluster.toml", toml), ("ssh_config", config)):
            with open(f"{self.state}/{name}", "w", encoding="utf-8") as file:
                file.write(text)

    def directory(self, host):
        return f"{self.state}/hosts/{host.name}"

    def _start(self, host):
        """Another test bed may take a port between our look and sshd's bind: then the next one is tried."""
        directory = self.directory(host)
        for port in range(FIRST_PORT, LAST_PORT):
            if not _is_free(host.address, port):
                continue
            text = SSHD_CONFIG.format(
                address=host.address, port=port, directory=directory, state=self.state, name=host.name
            )
            with open(f"{directory}/sshd_config", "w", encoding="utf-8") as file:
                file.write(text)
            # After a lost race for a port the log has a line from the try before.
            open(f"{directory}/sshd.log", "w", encoding="utf-8").close()
            command = [shutil.which("sshd"), "-D", "-f", f"{directory}/sshd_config", "-E", f"{directory}/sshd.log"]
            environ = {**host_module.LOGIN_ENVIRON, "TESTBED_HOST": host.name}
            sshd = subprocess.Popen(
                command,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                preexec_fn=_daemon,
            )
            if _listens(f"{directory}/sshd.log", sshd):
                host.port = port
                host.init_pid = sshd.pid
                return
        with open(f"{directory}/sshd.log", encoding="utf-8", errors="replace") as file:
            raise plan.TestbedError(f"{host.name}: sshd does not start:\n{file.read()[-2000:]}", 70)

    def login_environ(self, name):
        environ = dict(host_module.LOGIN_ENVIRON, LANG="C.UTF-8", TESTBED_HOST=name)
        environ.update(USER=self.user, LOGNAME=self.user, HOME=f"{self.directory(self._host(name))}/home")
        return environ

    def spawn(self, name, command, environ, cwd, fds, group):
        self._host(name)
        pid = os.fork()
        if pid == 0:
            host_module.enter_and_execute(self.plan.umask, [], command, environ, cwd, fds, group)
        return pid

    def child_exited(self, pid):
        pass

    def close(self):
        """Kills every descendant, then removes the files."""
        while True:
            offspring = descendants(os.getpid())
            for pid in offspring:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            try:
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            except ChildProcessError:
                break
            time.sleep(0.002)
        shutil.rmtree(self.state, ignore_errors=True)

    def request(self, name, arguments):
        if name == "hosts":
            return [
                {
                    "name": host.name,
                    "address": host.address,
                    "port": host.port,
                    "state": host.state,
                    "roles": list(host.roles),
                    "isolated": False,
                    "apart": [],
                }
                for host in self.hosts.values()
            ]
        if name == "ps":
            return processes.numbered(self._processes(arguments["host"]))
        raise plan.TestbedError(f"{name}: not supported without root", plan.UNAVAILABLE)

    def _processes(self, name):
        sshd = self._host(name).init_pid
        mark = f"TESTBED_HOST={name}".encode()
        marked = {pid for pid in descendants(os.getpid()) if mark in _environ(pid)}
        # sshd writes its title over its environment.
        return marked | descendants(sshd) | {sshd} if sshd else marked

    def _host(self, name):
        if name not in self.hosts:
            raise plan.TestbedError(f"no host {name!r}; there are: {', '.join(self.hosts)}", 2)
        return self.hosts[name]


def descendants(root):
    """All processes whose chain of parents leads to `root`."""
    parents = {pid: processes.parent(pid) for pid in processes.all_pids()}
    found = set()
    grown = True
    while grown:
        more = {pid for pid, parent in parents.items() if parent == root or parent in found} - found
        found |= more
        grown = bool(more)
    return found


def _environ(pid):
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return file.read().split(b"\0")
    except OSError:
        return []


def _daemon():
    os.setsid()
    kernel.default_signals()


def _is_free(address, port):
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((address, port))
        except OSError:
            return False
    return True


def _listens(log, sshd):
    """Whether this very sshd came up. Its log and not its port: the port could be another test bed's."""
    deadline = time.monotonic() + 10
    while sshd.poll() is None and time.monotonic() < deadline:
        if os.path.exists(log):
            with open(log, encoding="utf-8", errors="replace") as file:
                if "Server listening" in file.read():
                    return True
        time.sleep(0.005)
    return False


def main(bed_plan, sock, label, group):
    """Runs in a fork. Never returns."""
    code = 70
    bed = None
    try:
        kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
        bed_plan.umask = os.umask(0o022)
        state = tempfile.mkdtemp(prefix="testbed-")
        bed = Loopback(bed_plan, state)
        os.mkdir(f"{state}/shared")
        run.set_environ(bed_plan.environ, bed_plan.script, "loopback", state, f"{state}/hosts/ops/home")
        uplink = supervisor.Uplink(sock)
        served = supervisor.Supervisor(bed, uplink, f"{state}/control.sock")
        bed.boot()
        code = served.serve(bed_plan.command, bed_plan.environ, bed_plan.cwd, group)
    except supervisor.Interrupted as interruption:
        code = 128 + interruption.number
    except plan.TestbedError as error:
        print(f"testbed: {error}", file=sys.stderr)
        code = error.code
    except BaseException:
        traceback.print_exc(file=sys.stderr)
    finally:
        if bed:
            bed.close()
        sys.stderr.flush()
        os._exit(code)

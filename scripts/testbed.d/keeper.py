"""The real test bed: every host is a set of namespaces. The keeper is pid 1 of a pid namespace around all of them.

That is what makes "nothing is left" simple: when the keeper ends, for whatever reason, the kernel kills every process
of every host; with the last process go the network and mount namespaces, and with these all interfaces and all files
(everything lies on tmpfs in the keeper's mount namespace). The keeper in turn is killed with the process that the user
called (PR_SET_PDEATHSIG). The bridges live in the keeper's own network namespace: the machine's shows nothing.
"""

import os
import select
import signal
import socket
import subprocess
import sys
import time
import traceback

import freezer
import host as host_module
import kernel
import network
import plan
import processes
import supervisor

BOOT_TIMEOUT = 30


class Keeper:
    """The bed behind the supervisor, see there for the interface."""

    def __init__(self, bed_plan, uplink, label):
        self.plan = bed_plan
        self.hosts = bed_plan.hosts
        self.uplink = uplink
        self.network = network.Network(self.hosts, bed_plan.mtu)
        self.channels = {}
        self.own_pid_namespace = os.open("/proc/self/ns/pid", os.O_RDONLY)
        self.freezer = freezer.choose(label)
        self.janitor = False
        self.reap = None  # The supervisor's, who alone knows whom a child belongs to.

    def boot(self):
        keys = f"{plan.STATE_DIR}/keys"
        os.makedirs(keys, 0o700)
        host_module.make_key(f"{keys}/id_ed25519", "testbed")
        for host in self.hosts.values():
            host_module.make_disk(host, self.hosts, keys)
        identity = f"{host_module.HOME}/.ssh/id_ed25519"
        toml = plan.cluster_toml(self.hosts, "root", identity)
        config = plan.ssh_config(self.hosts, "root", identity, f"{host_module.HOME}/.ssh/known_hosts")
        for name, text in (("cluster.toml", toml), ("ssh_config", config)):
            with open(f"{plan.STATE_DIR}/{name}", "w", encoding="utf-8") as file:
                file.write(text)
        self.network.create()
        self._power_on(list(self.hosts.values()))

    def _power_on(self, hosts):
        for host in hosts:
            self._fork(host)
        self._expect(hosts, b"n")
        self.network.plug_in(hosts)
        for host in hosts:
            self.channels[host.name].send(b"p")
        self._expect(hosts, b"u")
        for host in hosts:
            host.state = "up"
            self.channels.pop(host.name).close()

    def _fork(self, host):
        ours, theirs = socket.socketpair()
        pid = self._fork_into(host, None)
        if pid == 0:
            ours.close()
            self.uplink.socket.close()
            host_module.Boot(host, self.plan, self.network, theirs).run()
        theirs.close()
        host.init_pid = pid
        host.state = "booting"
        self.channels[host.name] = ours

    def _fork_into(self, host, namespace):
        """Forks into a pid namespace, a new one without `namespace`; the keeper itself stays in its own."""
        if namespace is None:
            kernel.unshare(kernel.CLONE_NEWPID)
        else:
            kernel.setns(namespace, kernel.CLONE_NEWPID)
        pid = -1
        try:
            pid = os.fork()
            return pid
        except OSError as error:
            raise plan.TestbedError(f"{host.name}: {error}") from error
        finally:
            if pid != 0:
                kernel.setns(self.own_pid_namespace, kernel.CLONE_NEWPID)

    def _expect(self, hosts, letter):
        """Waits until all these hosts said `letter`."""
        waiting = {self.channels[host.name]: host for host in hosts}
        deadline = time.monotonic() + BOOT_TIMEOUT
        while waiting:
            ready, _, _ = select.select([*waiting, self.uplink.socket], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                raise plan.TestbedError(f"{next(iter(waiting.values())).name} did not boot in {BOOT_TIMEOUT} s", 70)
            for channel in ready:
                if channel is self.uplink.socket:
                    for number in self.uplink.signals():
                        raise supervisor.Interrupted(number)
                elif channel.recv(1) == letter:
                    del waiting[channel]
                else:
                    raise plan.TestbedError(self._boot_failure(waiting[channel]), 70)

    @staticmethod
    def _boot_failure(host):
        try:
            with open(f"{plan.STATE_DIR}/logs/{host.name}", encoding="utf-8", errors="replace") as file:
                return f"{host.name} did not boot:\n{file.read()[-4000:]}"
        except FileNotFoundError:
            return f"{host.name} did not boot"

    def login_environ(self, _):
        return {**host_module.LOGIN_ENVIRON, "LANG": "C.UTF-8"}

    def spawn(self, name, command, environ, cwd, fds, group):
        target = self._host(name)
        self._must_be(target, "up", "frozen")
        opened = {
            kind: os.open(f"/proc/{target.init_pid}/ns/{kind}", os.O_RDONLY)
            for kind in (*host_module.NAMESPACES, "pid")
        }
        try:
            pid = self._fork_into(target, opened["pid"])
            if pid == 0:
                entered = [(kind, fd) for kind, fd in opened.items() if kind != "pid"]
                host_module.enter_and_execute(self.plan.umask, entered, command, environ, cwd, fds, group)
            return pid
        finally:
            for fd in opened.values():
                os.close(fd)

    def child_exited(self, pid):
        """If it was the init of a host, that host is off, whether we killed it or somebody else."""
        for host in self.hosts.values():
            if host.init_pid == pid:
                self._forget(host)

    def close(self):
        """Nothing to do: the kernel ends everything with this process."""

    def request(self, name, arguments):
        return getattr(self, f"_do_{name.replace('-', '_')}")(**arguments)

    def _host(self, name):
        if name not in self.hosts:
            raise plan.TestbedError(f"no host {name!r}; there are: {', '.join(self.hosts)}", 2)
        return self.hosts[name]

    @staticmethod
    def _must_be(host, *states):
        if host.state not in states:
            raise plan.TestbedError(f"{host.name} is {host.state}")

    def _pids(self, host):
        return processes.pids_in_namespace(host.init_pid)

    def _do_hosts(self):
        return [
            {
                "name": host.name,
                "address": host.address,
                "address6": host.cards[-1].address6,
                "port": host.port,
                "state": host.state,
                "roles": list(host.roles),
                "isolated": host.name in self.network.isolated,
                "apart": sorted(next(iter(pair - {host.name})) for pair in self.network.apart if host.name in pair),
            }
            for host in self.hosts.values()
        ]

    def _do_ps(self, host):
        target = self._host(host)
        return [] if target.state == "off" else processes.in_namespace(target.init_pid)

    def _do_power_off(self, host):
        target = self._host(host)
        if target.name == "ops":
            raise plan.TestbedError("ops is where the command runs: it cannot be switched off", 2)
        if target.state == "off":
            return
        # The cable first: what the kernel says on behalf of the killed processes (FIN, RST) must not get out.
        self.network.unplug(target)
        # Its end waits until we have reaped those of its processes that are our children: CMD's and `exec`'s.
        os.kill(target.init_pid, signal.SIGKILL)
        while target.init_pid:
            self.reap()
            time.sleep(0.001)

    def _forget(self, host):
        host.state = "off"
        host.init_pid = 0
        self.freezer.forget(host.name)
        self.network.remove_cables(host)

    def _do_power_on(self, host):
        target = self._host(host)
        if target.state == "off":
            try:
                self._power_on([target])
            except plan.TestbedError:
                self._do_power_off(host)
                raise

    def _do_freeze(self, host):
        target = self._host(host)
        if target.name == "ops":
            raise plan.TestbedError("ops is where the command runs: it cannot be frozen", 2)
        self._must_be(target, "up", "frozen")
        if not self.janitor and self.freezer.directory:
            self.uplink.sweep(self.freezer.directory)
            self.janitor = True
        self.freezer.freeze(target.name, lambda: self._pids(target))
        target.state = "frozen"

    def _do_thaw(self, host):
        target = self._host(host)
        self._must_be(target, "up", "frozen")
        if target.state == "frozen":
            self.freezer.thaw(target.name, lambda: self._pids(target))
            target.state = "up"

    def _do_partition(self, first, second=None):
        self.network.partition(self._host(first), second and self._host(second))

    def _do_heal(self, first=None, second=None):
        for name in [first] if first else list(self.hosts):
            self.network.heal(self._host(name), second and self._host(second))

    def _do_limit_disk(self, host, size=None, free=None):
        target = self._host(host)
        disk = host_module.disk_directory(target)
        if free is not None:
            usage = os.statvfs(disk)
            size = (usage.f_blocks - usage.f_bfree) * usage.f_frsize + free
        try:
            kernel.mount("tmpfs", disk, "tmpfs", kernel.MS_REMOUNT | kernel.MS_NODEV, f"size={size or '50%'}")
        except OSError as error:
            raise plan.TestbedError(
                f"{target.name}: more than that is on the disk already ({error.strerror})"
            ) from error


def _prepare_own_namespaces(bed_plan):
    """Mounts and network of the keeper; from here on nothing it does can be seen on the machine."""
    kernel.unshare(kernel.CLONE_NEWNS | kernel.CLONE_NEWNET | kernel.CLONE_NEWUTS | kernel.CLONE_NEWIPC)
    kernel.private_mounts()
    kept = host_module.Kept(bed_plan.kept, ["/run"])
    kernel.mount_proc("/proc")
    kernel.mount_tmpfs("/run")
    kept.show()
    for name in ("disks", "logs", "shared"):
        os.makedirs(f"{plan.STATE_DIR}/{name}")
    os.chmod(plan.SHARED_DIR, 0o1777)


def main(bed_plan, sock, label, group):
    """Runs in a fork that is pid 1 of a new pid namespace. Never returns."""
    code = 70
    try:
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
        uplink = supervisor.Uplink(sock)
        bed_plan.umask = os.umask(0o022)
        _prepare_own_namespaces(bed_plan)
        keeper = Keeper(bed_plan, uplink, label)
        served = supervisor.Supervisor(keeper, uplink, f"{plan.STATE_DIR}/control.sock")
        keeper.reap = served.reap
        keeper.boot()
        code = served.serve(bed_plan.command, bed_plan.environ, bed_plan.cwd, group)
    except supervisor.Interrupted as interruption:
        code = 128 + interruption.number
    except plan.TestbedError as error:
        print(f"testbed: {error}", file=sys.stderr)
        code = error.code
    except BaseException:
        traceback.print_exc(file=sys.stderr)
    finally:
        sys.stderr.flush()
        os._exit(code)


def refusal():
    """Why this machine cannot have namespaces for the test bed, or None. Tries them in a fork."""
    if os.geteuid() != 0:
        return "not root"
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reader)
            _try_all()
        except (OSError, subprocess.CalledProcessError) as error:
            os.write(writer, str(getattr(error, "stderr", b"") or error).encode()[:500])
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, encoding="utf-8", errors="replace") as file:
        reason = file.read()
    os.waitpid(pid, 0)
    return reason or None


def _try_all():
    kernel.unshare(kernel.CLONE_NEWPID | sum(host_module.NAMESPACES.values()))
    kernel.private_mounts()
    kernel.mount_tmpfs("/run")
    for name in ("upper", "work", "merged"):
        os.mkdir(f"/run/{name}")
    kernel.mount("overlay", "/run/merged", "overlay", 0, "lowerdir=/,upperdir=/run/upper,workdir=/run/work")
    lines = b"link add name br0 type bridge\nlink add name h1 type veth peer name eth0\n"
    subprocess.run(["ip", "-batch", "-"], input=lines, check=True, capture_output=True)

"""How a process becomes a host: namespaces, a root file system of its own, a network, sshd, and an init.

All of it runs in a fork of the keeper that is pid 1 of the new host; hosts boot in parallel. A host's disk is a tmpfs
that the keeper holds, so that it outlives the host's power: /root, /tmp and /var/tmp live on it, and whatever the host
writes elsewhere (an overlay over the machine's root). /run, /dev/shm, the network and boot_id are new at each boot.
"""

import os
import signal
import socket
import subprocess
import sys
import time
import traceback
import uuid

import kernel
import plan

HOME = "/root"
DISK = {HOME: ("root", 0o700), "/tmp": ("tmp", 0o1777), "/var/tmp": ("var-tmp", 0o1777)}
VOLATILE = {"/run": 0o755, "/dev/shm": 0o1777}
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
LOGIN_ENVIRON = {"PATH": SYSTEM_PATH, "HOME": HOME, "USER": "root", "LOGNAME": "root", "SHELL": "/bin/bash"}
# Reaps orphans as an init must. A shell and not Python: 1 MB instead of 10, and `ps` in the host does not show the
# arguments of the test bed's caller. It must live through a `kill -9 -1` inside of the host.
INIT = "while :; do sleep infinity & wait; done"
NAMESPACES = {
    "net": kernel.CLONE_NEWNET,
    "uts": kernel.CLONE_NEWUTS,
    "ipc": kernel.CLONE_NEWIPC,
    "mnt": kernel.CLONE_NEWNS,
}


def disk_directory(host):
    return f"{plan.STATE_DIR}/disks/{host.name}"


def _write(path, text, mode=0o644):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(path, mode)


def make_key(path, comment):
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", path]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def make_disk(host, hosts, keys):
    """Runs in the keeper before the first boot: the disk, and the files that are the same at each boot."""
    disk = disk_directory(host)
    os.makedirs(disk)
    kernel.mount_tmpfs(disk, size=host.disk_size)
    for name, mode in DISK.values():
        os.mkdir(f"{disk}/{name}")
        os.chmod(f"{disk}/{name}", mode)
    for name in ("changes", "overlay", "root-mount", "etc", "ssh", "nothing"):
        os.mkdir(f"{disk}/{name}")
    _write(f"{disk}/etc/hosts", plan.hosts_file(host, hosts))
    _write(f"{disk}/etc/hostname", f"{host.name}\n")
    _write(f"{disk}/etc/machine-id", f"{uuid.uuid4().hex}\n", 0o444)
    home = f"{disk}/root/.ssh"
    os.mkdir(home, 0o700)
    for name, mode in (("id_ed25519", 0o600), ("id_ed25519.pub", 0o644)):
        with open(f"{keys}/{name}", encoding="ascii") as file:
            _write(f"{home}/{name}", file.read(), mode)
    _write(f"{home}/config", "Host *\n    StrictHostKeyChecking accept-new\n    LogLevel ERROR\n", 0o600)
    if host.name != "ops":
        with open(f"{keys}/id_ed25519.pub", encoding="ascii") as file:
            _write(f"{home}/authorized_keys", file.read(), 0o600)
    _write(f"{disk}/root/.hushlogin", "")


class Kept:
    """Directories that stay visible although something is mounted over a parent of them (a checkout below /tmp)."""

    def __init__(self, paths, covers):
        self.fds = []
        for path in sorted(set(paths)):
            covered = any(path.startswith(f"{cover}/") for cover in covers)
            if covered and os.path.isdir(path):
                self.fds.append((path, os.open(path, os.O_PATH | os.O_DIRECTORY)))

    def show(self):
        for path, fd in self.fds:
            os.makedirs(path, exist_ok=True)
            if not os.path.samestat(os.stat(path), os.fstat(fd)):
                kernel.bind(f"/proc/self/fd/{fd}", path, kernel.MS_REC)
            os.close(fd)


class Boot:
    """The child's side of one boot. `channel` speaks to the keeper: it hears n (namespaces made), u (up)."""

    def __init__(self, host, bed_plan, network, channel):
        self.host = host
        self.plan = bed_plan
        self.network = network
        self.channel = channel
        self.disk = disk_directory(host)

    def run(self):
        """Never returns."""
        try:
            self._become()
        except BaseException:  # A fork must not fall back into the keeper's code, whatever happens.
            traceback.print_exc(file=sys.stderr)
        finally:
            os._exit(70)

    def _become(self):
        self._detach()
        kernel.unshare(sum(NAMESPACES.values()))
        self.channel.send(b"n")
        socket.sethostname(self.host.name)
        if self.host.name == "ops":
            self._ops_files()
        else:
            self._host_files()
        if self.channel.recv(1) != b"p":
            os._exit(70)
        self.network.configure(self.host)
        if os.fork() == 0:
            self._start_services()
        os.execve("/bin/sh", ["init", "-c", INIT], LOGIN_ENVIRON)

    def _detach(self):
        os.setsid()
        log = os.open(f"{plan.STATE_DIR}/logs/{self.host.name}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        null = os.open("/dev/null", os.O_RDWR)
        for source, target in ((null, 0), (log, 1), (log, 2)):
            os.dup2(source, target)
        os.close(log)
        os.close(null)
        signal.set_wakeup_fd(-1)
        kernel.default_signals()
        os.umask(0o022)

    def _start_services(self):
        """A child of init: sshd puts itself into the background before it listens, so look until it does."""
        try:
            if self.host.name != "ops":
                sshd = subprocess.run(["/usr/sbin/sshd", "-E", "/run/sshd.log"], env=LOGIN_ENVIRON, cwd="/")
                deadline = time.monotonic() + 20
                while sshd.returncode == 0 and not _listens(22) and time.monotonic() < deadline:
                    time.sleep(0.003)
                if not _listens(22):
                    os._exit(70)
            self.channel.send(b"u")
        finally:
            os._exit(0)

    def _host_files(self):
        disk, root = self.disk, f"{self.disk}/root-mount"
        kernel.mount("overlay", root, "overlay", 0, f"lowerdir=/,upperdir={disk}/changes,workdir={disk}/overlay")
        for path in ("/usr", "/var", "/opt"):
            if os.path.ismount(path):
                # The overlay shows the root file system alone.
                kernel.bind_read_only(path, f"{root}{path}")
        self._bind_disk(root)
        for path in sorted({self.plan.repository, self.plan.binaries} - {"/"}):
            # Nothing is pre-installed on a host: what it runs must have come through ssh.
            if os.path.isdir(f"{root}{path}"):
                kernel.bind_read_only(f"{disk}/nothing", f"{root}{path}")
        self._kernel_files(root)
        kernel.mount("devtmpfs", f"{root}/dev", "devtmpfs", kernel.MS_NOSUID)
        kernel.mount("devpts", f"{root}/dev/pts", "devpts", 0, "newinstance,ptmxmode=0666,mode=620,gid=5")
        self._volatile(root)
        os.makedirs(f"{root}{plan.SHARED_DIR}")
        kernel.bind(plan.SHARED_DIR, f"{root}{plan.SHARED_DIR}")
        self._etc(root)
        self._sshd_files(root)
        kernel.switch_root(root)

    def _ops_files(self):
        """ops keeps the machine's root: what CMD builds or writes into the checkout must stay."""
        kept = Kept([*self.plan.kept, "/sys/fs/cgroup"], [*DISK, "/dev/shm", "/sys"])
        self._bind_disk("")
        self._kernel_files("")
        kernel.mount_tmpfs("/dev/shm", 0o1777)
        kept.show()
        self._etc("")

    def _bind_disk(self, root):
        for path, (name, _) in DISK.items():
            kernel.bind(f"{self.disk}/{name}", f"{root}{path}")

    def _kernel_files(self, root):
        kernel.mount_proc(f"{root}/proc")
        kernel.mount("sysfs", f"{root}/sys", "sysfs", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC)
        # Tools identify a process by boot_id, pid and start time; a boot_id that survived a reboot would fool them.
        _write(f"{self.disk}/etc/boot_id", f"{uuid.uuid4()}\n", 0o444)
        kernel.bind(f"{self.disk}/etc/boot_id", f"{root}/proc/sys/kernel/random/boot_id")

    def _volatile(self, root):
        for path, mode in VOLATILE.items():
            kernel.mount_tmpfs(f"{root}{path}", mode)
        for path, mode in (("lock", 0o1777), ("sshd", 0o755), ("user", 0o755)):
            os.mkdir(f"{root}/run/{path}")
            os.chmod(f"{root}/run/{path}", mode)

    def _etc(self, root):
        for name in ("hosts", "hostname", "machine-id"):
            target = f"{root}/etc/{name}"
            if root and not os.path.exists(target):
                _write(target, "")
            if os.path.isfile(target):
                kernel.bind(f"{self.disk}/etc/{name}", target)

    def _sshd_files(self, root):
        """Debian's defaults, whatever the machine's own files say, and a host key of this host."""
        directory = f"{self.disk}/ssh"
        if not os.path.exists(f"{directory}/ssh_host_ed25519_key"):
            for name, fallback in (("sshd_config", "/usr/share/openssh/sshd_config"), ("ssh_config", "")):
                source = next((path for path in (fallback, f"/etc/ssh/{name}") if os.path.isfile(path)), None)
                if source:
                    with open(source, encoding="utf-8") as file:
                        _write(f"{directory}/{name}", file.read())
            make_key(f"{directory}/ssh_host_ed25519_key", f"root@{self.host.name}")
        kernel.bind(directory, f"{root}/etc/ssh")


def _listens(port):
    """Whether this network namespace has a listening TCP socket on `port` (state 0A)."""
    with open("/proc/self/net/tcp", encoding="ascii") as file:
        return any(line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A" for line in list(file)[1:])


def enter_and_execute(umask, namespace_fds, command, environ, cwd, fds, group):
    """The child's side of CMD and of `exec`: joins the host and becomes `command`. Never returns."""
    try:
        for source, target in zip(fds, range(3)):
            os.dup2(source, target)
        for name, fd in namespace_fds:
            kernel.setns(fd, NAMESPACES[name])
        signal.set_wakeup_fd(-1)
        kernel.default_signals()
        become_group(group)
        os.umask(umask if group != "session" else 0o022)
        try:
            os.chdir(cwd)
        except OSError:
            os.chdir(HOME)
        os.execvpe(command[0], command, environ)
    except OSError as error:
        os.write(2, f"testbed: {command[0]}: {error.strerror or error}\n".encode())
    except BaseException:
        traceback.print_exc(file=sys.stderr)
    finally:
        os._exit(127)


def become_group(group):
    """`group` is session, foreground or background.

    CMD has a process group of its own, so that a Ctrl-C reaches it once, from the terminal and not from us too.
    """
    if group == "session":
        os.setsid()
        return
    os.setpgid(0, 0)
    if group == "foreground":
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        os.tcsetpgrp(0, os.getpgrp())
        signal.signal(signal.SIGTTOU, signal.SIG_DFL)

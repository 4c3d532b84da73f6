"""`testbed run`, the part in the caller's own process: builds the plan, starts the supervisor, passes signals on.

This process changes nothing about itself or the machine, so that its death is all it takes to end the test bed.
"""

import os
import pwd
import secrets
import shutil
import signal
import socket
import sys

import freezer
import kernel
import plan

FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
NEEDED = {"sshd": "openssh-server", "ssh": "openssh-client", "ssh-keygen": "openssh-client"}
NEEDED_FOR_NAMESPACES = {"ip": "iproute2", "bridge": "iproute2", "nsenter": "util-linux"}
SBIN = ":/usr/local/sbin:/usr/sbin:/sbin"  # Not on everybody's PATH.
# What would lead out of the test bed, or to files that ops does not have.
DROPPED = (
    "SSH_AUTH_SOCK",
    "SSH_AGENT_PID",
    "XDG_RUNTIME_DIR",
    "XDG_STATE_HOME",
    "XDG_DATA_HOME",
    "XDG_CONFIG_HOME",
    "XDG_CACHE_HOME",
    "TMPDIR",
    "TESTBED_DIR",
)


def check_tools(names):
    """Looks where the test bed will look: on PATH, which from here on has the sbin directories."""
    if not os.environ.get("PATH", "").endswith(SBIN):
        os.environ["PATH"] = os.environ.get("PATH", "/usr/bin:/bin") + SBIN
    missing = [name for name in names if shutil.which(name) is None]
    if missing:
        packages = " ".join(sorted({names[name] for name in missing}))
        raise plan.TestbedError(
            f"not installed: {', '.join(missing)}\nhelp: apt-get install --no-install-recommends {packages}",
            plan.UNAVAILABLE,
        )


def choose_mode(wanted):
    """Returns "namespaces" or "loopback"."""
    check_tools(NEEDED)
    if wanted == "loopback":
        return wanted
    if os.geteuid() == 0:
        check_tools(NEEDED_FOR_NAMESPACES)
    import keeper

    reason = keeper.refusal()
    if reason is None:
        return "namespaces"
    if wanted == "namespaces":
        raise plan.TestbedError(f"this machine does not let us make hosts of namespaces: {reason}", plan.UNAVAILABLE)
    print(f"testbed: hosts are mere sshd's on loopback addresses here ({reason.strip()})", file=sys.stderr)
    return "loopback"


def make_plan(options, command, script):
    """Everything that depends on the caller's surroundings is settled here."""
    repository = os.path.dirname(os.path.dirname(os.path.realpath(script)))
    environ = dict(os.environ)
    binaries = os.path.abspath(environ.get("TESTBED_BIN") or f"{repository}/target/release")
    home = environ.get("HOME") or pwd.getpwuid(os.getuid()).pw_dir
    kept = [repository, os.getcwd(), binaries, os.path.realpath(sys.base_prefix), *map(os.path.abspath, options.bind)]
    for variable, name in (("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup")):
        directory = environ.get(variable) or f"{home}/{name}"
        if os.path.isdir(directory):
            environ[variable] = directory
            kept.append(directory)
    if environ.get("CARGO_TARGET_DIR"):
        kept.append(os.path.abspath(environ["CARGO_TARGET_DIR"]))
    for name in DROPPED:
        environ.pop(name, None)
    # The interpreter goes last: it may be the only one (pyenv), and its shims are out of sight on ops.
    environ["PATH"] = f"{binaries}:{environ['PATH']}:{sys.base_prefix}/bin"
    hosts = plan.make_hosts(options.hosts, options.jump, options.disk_limit)
    return plan.Plan(hosts, command, os.getcwd(), environ, script, repository, binaries, kept, options.mtu)


def set_environ(environ, script, mode, directory, home):
    """What CMD finds, the same in both modes."""
    environ.update(
        HOME=home,
        TESTBED=script,
        TESTBED_MODE=mode,
        TESTBED_DIR=directory,
        TESTBED_SHARED=f"{directory}/shared",
        FLINKCTL_CLUSTER_FILE=f"{directory}/cluster.toml",
    )


def run(options, command, script):
    """Returns CMD's exit code."""
    _open_standard_streams()
    mode = choose_mode(options.mode)
    bed_plan = make_plan(options, command, script)
    ours, theirs = socket.socketpair()
    group = "foreground" if _owns_terminal() else "background"
    before = {number: signal.signal(number, lambda it, _: _forward(ours, it)) for number in FORWARDED}
    label = f"{os.getpid()}-{secrets.token_hex(4)}"
    pid = _start(mode, bed_plan, ours, theirs, label, group)
    theirs.close()
    janitors = _listen(ours)
    _, status = os.waitpid(pid, 0)
    for number in before:
        signal.signal(number, signal.SIG_IGN)
    if group == "foreground":
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        os.tcsetpgrp(0, os.getpgrp())
    for janitor, pipe in janitors:
        os.close(pipe)
        os.waitpid(janitor, 0)
    return kernel.exit_code(status)


def _open_standard_streams():
    """Otherwise a socket of ours could get number 0, 1 or 2, and CMD would get that."""
    while True:
        fd = os.open("/dev/null", os.O_RDWR)
        if fd > 2:
            os.close(fd)
            return
        os.set_inheritable(fd, True)


def _owns_terminal():
    try:
        return os.isatty(0) and os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False


def _forward(sock, number):
    try:
        sock.send(f"{number}\n".encode())
    except OSError:
        pass  # CMD has ended already.


def _start(mode, bed_plan, ours, theirs, label, group):
    """Forks the supervisor; for the namespaces mode as pid 1 of a new pid namespace."""
    if mode == "namespaces":
        import host
        import keeper

        set_environ(bed_plan.environ, bed_plan.script, mode, plan.STATE_DIR, host.HOME)
        own = os.open("/proc/self/ns/pid", os.O_RDONLY)
        kernel.unshare(kernel.CLONE_NEWPID)
        pid = os.fork()
        if pid:
            kernel.setns(own, kernel.CLONE_NEWPID)
            os.close(own)
            return pid
        main = keeper.main
    else:
        import loopback

        pid = os.fork()
        if pid:
            return pid
        main = loopback.main
    ours.close()
    for number in FORWARDED:
        signal.signal(number, signal.SIG_IGN)
    main(bed_plan, theirs, label, group)


def _listen(sock):
    """Until the supervisor is gone. The one thing it ever asks for is a janitor for its cgroups."""
    janitors = []
    data = b""
    while True:
        more = sock.recv(4096)
        if not more:
            return janitors
        data += more
        while b"\n" in data:
            line, _, data = data.partition(b"\n")
            janitors.append(_start_janitor(os.fsdecode(line), sock))


def _start_janitor(directory, sock):
    """A process that outlives a SIGKILL of this one and of the supervisor, by the moment it takes to clean up."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid:
        os.close(reader)
        return pid, writer
    try:
        os.setsid()
        for number in FORWARDED:
            signal.signal(number, signal.SIG_IGN)
        sock.close()
        os.close(writer)
        null = os.open("/dev/null", os.O_RDWR)
        for fd in range(3):
            # Whoever reads CMD's output must not have to wait for us.
            os.dup2(null, fd)
        os.read(reader, 1)
        freezer.sweep(directory)
    finally:
        os._exit(0)

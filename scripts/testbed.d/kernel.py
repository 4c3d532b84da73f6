"""The few Linux calls that Python 3.9 lacks: namespaces, mounts, prctl, pivot_root."""

import ctypes
import os
import platform
import signal

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 32
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18
MNT_DETACH = 2

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}.get(platform.machine())
_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.mount.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p]
_LIBC.prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4

# What a process that is about to become another program must find as the kernel would have given it.
_ORDINARY_SIGNALS = (
    signal.SIGPIPE,
    signal.SIGXFSZ,
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGTSTP,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGCHLD,
)


def _check(result, what):
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags):
    _check(_LIBC.unshare(flags), "unshare")


def setns(fd, kind):
    _check(_LIBC.setns(fd, kind), "setns")


def mount(source, target, fstype="", flags=0, data=""):
    code = _LIBC.mount(os.fsencode(source), os.fsencode(target), fstype.encode(), flags, data.encode())
    _check(code, f"mount {fstype or source} on {target}")


def bind(source, target, flags=0):
    mount(source, target, flags=MS_BIND | flags)


def bind_read_only(source, target):
    bind(source, target)
    mount("", target, flags=MS_REMOUNT | MS_BIND | MS_RDONLY)


def mount_proc(target):
    mount("proc", target, "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)


def mount_tmpfs(target, mode=0o755, size=""):
    mount("tmpfs", target, "tmpfs", MS_NODEV, f"mode={mode:o}" + (f",size={size}" if size else ""))


def private_mounts():
    """Cuts mount propagation: what follows is seen in this mount namespace (and those forked from it) only."""
    mount("", "/", flags=MS_REC | MS_PRIVATE)


def switch_root(new_root):
    """Makes `new_root` the root of this mount namespace and drops everything else from it."""
    if _PIVOT_ROOT is None:
        raise OSError(f"the test bed does not know pivot_root on {platform.machine()}")
    os.chdir(new_root)
    _check(_LIBC.syscall(_PIVOT_ROOT, b".", b"."), "pivot_root")
    _check(_LIBC.umount2(b".", MNT_DETACH), "umount the old root")
    os.chdir("/")


def prctl(option, value):
    _check(_LIBC.prctl(option, value, 0, 0, 0), "prctl")


def default_signals():
    for number in _ORDINARY_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def exit_code(status):
    """A wait status as a shell reports it."""
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)

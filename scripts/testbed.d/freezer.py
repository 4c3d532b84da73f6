"""Stops all processes of a host at one instant while its network card goes on answering: a long GC pause, a hung VM.

The freezer of cgroup v2 does that without the processes noticing (SIGKILL still ends them). A cgroup is the one thing
of a test bed that is global and does not end with its processes; so it exists only while the host is frozen, and a
janitor outside the test bed removes what a SIGKILL left. Without a writable cgroup v2: SIGSTOP and SIGCONT.
"""

import os
import signal
import time

import plan


def _cgroup_base():
    """Our own directory in the cgroup v2 hierarchy, or None."""
    mounted = None
    with open("/proc/self/mounts", encoding="utf-8") as file:
        for line in file:
            _, path, kind, *_ = line.split()
            mounted = path if kind == "cgroup2" else mounted
    with open("/proc/self/cgroup", encoding="utf-8") as file:
        own = next((line.strip()[3:] for line in file if line.startswith("0::")), None)
    if mounted is None or own is None or not os.access(mounted + own, os.W_OK):
        return None
    return os.path.join(mounted + own, "")


def _write(path, text):
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def choose(label):
    """The best freezer that this machine has. `label` keeps parallel test beds apart."""
    base = _cgroup_base()
    return Stopper() if base is None else Cgroup(f"{base}testbed-{label}")


class Cgroup:
    """One cgroup per frozen host under `directory`."""

    def __init__(self, directory):
        self.directory = directory

    def freeze(self, name, pids):
        group = f"{self.directory}/{name}"
        os.makedirs(group, exist_ok=True)
        # A process forked while we look is either in the group with its parent or found by the next look.
        moved = set()
        while True:
            new = set(pids()) - moved
            if not new:
                break
            for pid in new:
                try:
                    _write(f"{group}/cgroup.procs", str(pid))
                except ProcessLookupError:
                    pass
            moved |= new
        _write(f"{group}/cgroup.freeze", "1")
        for _ in range(1000):
            with open(f"{group}/cgroup.events", encoding="ascii") as file:
                if "frozen 1" in file.read():
                    return
            time.sleep(0.001)
        raise plan.TestbedError(f"{name}: the kernel has not frozen all processes within a second")

    def thaw(self, name, pids):
        group = f"{self.directory}/{name}"
        _write(f"{group}/cgroup.freeze", "0")
        self.forget(name)

    def forget(self, name):
        """Moves whoever is left back to where it came from and removes the cgroup."""
        group = f"{self.directory}/{name}"
        if not os.path.isdir(group):
            return
        deadline = time.monotonic() + 2
        while True:
            with open(f"{group}/cgroup.procs", encoding="ascii") as file:
                left = file.read().split()
            for pid in left:
                try:
                    _write(f"{os.path.dirname(self.directory)}/cgroup.procs", pid)
                except OSError:
                    pass  # It ended.
            try:
                os.rmdir(group)
                return
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.002)


class Stopper:
    """The same by signals, which parents of stopped processes can see."""

    directory = ""

    def freeze(self, name, pids):
        stopped = set()
        while True:
            new = set(pids()) - stopped
            if not new:
                return
            self._signal(new, signal.SIGSTOP)
            stopped |= new

    def thaw(self, name, pids):
        self._signal(pids(), signal.SIGCONT)

    def forget(self, name):
        pass

    @staticmethod
    def _signal(pids, number):
        for pid in pids:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass


def sweep(directory):
    """Removes the cgroups of a test bed that has just been killed; its processes may need a moment to go."""
    deadline = time.monotonic() + 5
    while directory and os.path.isdir(directory) and time.monotonic() < deadline:
        for name in os.listdir(directory):
            path = os.path.join(directory, name)
            if os.path.isdir(path):
                try:
                    os.rmdir(path)
                except OSError:
                    pass
        try:
            os.rmdir(directory)
        except OSError:
            time.sleep(0.01)

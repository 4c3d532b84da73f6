"""Reads /proc: the processes of one host, as `ps` in the host would number them."""

import os


def _read(path):
    with open(path, "rb") as file:
        return file.read()


def all_pids():
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _pid_namespace(pid):
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return None


def pids_in_namespace(init_pid):
    """All processes in the pid namespace of this one, numbered as the caller sees them."""
    wanted = _pid_namespace(init_pid)
    return [pid for pid in all_pids() if wanted is not None and _pid_namespace(pid) == wanted]


def parent(pid):
    """The parent's pid, or 0 if the process is gone."""
    try:
        # The name in field 2 may hold blanks and parentheses; the last ")" ends it.
        return int(_read(f"/proc/{pid}/stat").rpartition(b")")[2].split()[1])
    except OSError:
        return 0


def describe(pid):
    """One process, or None if it is gone. `numbers` are its pids, the outermost namespace first."""
    try:
        status = _read(f"/proc/{pid}/status").decode(errors="replace")
        arguments = _read(f"/proc/{pid}/cmdline").split(b"\0")[:-1]
    except OSError:
        return None
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    name = fields.get("Name", "?")
    return {
        "numbers": [int(number) for number in fields.get("NSpid", str(pid)).split()],
        "parent": int(fields.get("PPid", "0")),
        "state": fields.get("State", "?")[:1],
        "rss_kib": int(fields.get("VmRSS", "0 kB").split()[0]),
        "name": name,
        "args": [argument.decode(errors="replace") for argument in arguments] or [f"[{name}]"],
    }


def numbered(pids):
    """Rows for `ps`: pids and parents as their own namespace numbers them, a parent outside of it is 0."""
    found = {pid: row for pid in pids for row in [describe(pid)] if row}
    rows = []
    for row in found.values():
        above = found.get(row["parent"])
        rows.append(
            {
                "pid": row["numbers"][-1],
                "ppid": above["numbers"][-1] if above else 0,
                "state": row["state"],
                "rss_kib": row["rss_kib"],
                "name": row["name"],
                "args": row["args"],
            }
        )
    return sorted(rows, key=lambda row: row["pid"])


def in_namespace(init_pid):
    return numbered(pids_in_namespace(init_pid))

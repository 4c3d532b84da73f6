"""Size of the binary, memory of what is idle."""

import os
import shutil
import subprocess
import tempfile
import time

import bed
import figures

MIB = 1 << 20
BINARY_TARGET, JOB_MANAGER_TARGET, TASK_MANAGER_TARGET = 20, 40, 15  # MiB

# Time for what a job leaves behind to be cleared away.
REST_S = 5


def beds(_):
    return [{"hosts": 3}]


def measure(_):
    flinkctl = os.path.join(bed.binaries(), "flinkctl")
    result = {"built": os.path.getsize(flinkctl), "stripped": stripped(flinkctl)}
    with bed.session():
        time.sleep(REST_S)
        result["jobManagerFresh"] = rss("jobmanager")
        for _ in range(3):
            bed.run_in_session(bed.example("wordcount"))
        time.sleep(REST_S)
        result["jobManager"] = rss("jobmanager")
        result["taskManager"] = rss("taskmanager")
    return result


def stripped(path):
    if shutil.which("strip") is None:
        return None
    with tempfile.NamedTemporaryFile() as copy:
        subprocess.run(["strip", "-o", copy.name, path], check=True)
        return os.path.getsize(copy.name)


def rss(command):
    """Of every such process on any host, bytes."""
    return [it["rss_kib"] << 10 for host in bed.hosts() for it in bed.flinkctl_processes(host, command)]


def report(_, results):
    (result,) = results

    def row(name, sizes, target=None):
        sizes = [size / MIB for size in sizes]
        row = [name, str(len(sizes)), figures.spread(sizes, "{:.1f}")]
        return row if target is None else [*row, f"< {target}", figures.verdict(max(sizes), "<=", target)]

    # Without `strip` the binary as it is built stands in: it is the larger one.
    size = result["stripped"] or result["built"]
    return [figures.table(
        "MiB: median (least..greatest)",
        ["", "n", "MiB", "target", ""],
        [
            row("flinkctl, release build as it is", [result["built"]]),
            row("flinkctl, stripped", [size], BINARY_TARGET),
            row("JobManager of a new session, resident", result["jobManagerFresh"], JOB_MANAGER_TARGET),
            row("JobManager after three jobs, resident", result["jobManager"], JOB_MANAGER_TARGET),
            row("TaskManager after three jobs, resident", result["taskManager"], TASK_MANAGER_TARGET),
        ],
        "Resident memory counts the pages of the binary that are in use.",
    )]

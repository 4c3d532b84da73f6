"""From command to prompt: plain ssh, a cluster for one tiny job, a tiny job in a session."""

import re

import bed
import figures

PHASE = re.compile(r"^(\w+) +\S+ +([\d.]+)(ms|s)$", re.MULTILINE)
UNITS = {"ms": 1e-3, "s": 1.0}

# Apache Flink's own scripts start workers one after another; its figures are for start, tiny job and stop over SSH.
PER_JOB_TARGET = 5
SESSION_TARGET = 2


def beds(options):
    return [{"hosts": options.hosts}]


def measure(options):
    names = bed.hosts()
    job = ["flinkctl", "job", "run", bed.example("wordcount")]
    bed.say("the first run, with uploads")
    cold, first = bed.timed(job)
    expected = sorted(first.stdout.splitlines())
    per_job = []
    for number in range(options.runs):
        bed.say(f"per job: round {number + 1} of {options.runs}")
        one, _ = bed.timed(["ssh", names[0], "true"])
        every = bed.ssh_to_all(names)
        seconds, done = bed.timed(job)
        left = bed.leftovers()
        if sorted(done.stdout.splitlines()) != expected or left:
            raise figures.Wrong(f"the counts of {job} differ from its first run's, or this was left behind: {left}")
        phases = {name: float(number) * UNITS[unit] for name, number, unit in PHASE.findall(done.stderr)}
        per_job.append({"ssh": one, "sshToAll": every, "job": seconds, "phases": phases})
    in_session = []
    with bed.session() as start:
        job = ["flinkctl", "job", "run", "--session", "default", bed.example("wordcount")]
        bed.say("session: the first job, which brings up the TaskManagers")
        first_in_session, _ = bed.timed(job)
        for number in range(options.runs):
            one, _ = bed.timed(["ssh", names[0], "true"])
            seconds, _ = bed.timed(job)
            in_session.append({"ssh": one, "job": seconds})
    return {"hosts": len(names), "cold": cold, "perJob": per_job, "sessionStart": start,
            "firstInSession": first_in_session, "inSession": in_session}


def report(options, results):
    (result,) = results
    per_job, in_session, hosts = result["perJob"], result["inSession"], result["hosts"]
    one, every, job = (figures.column(per_job, key) for key in ("ssh", "sshToAll", "job"))
    # With few hosts their ssh's in parallel take hardly longer than one; the target is set against the one.
    yardstick, beside = (one, "ssh to one host") if hosts <= 3 else (every, f"ssh to all {hosts} at once")
    ratio = figures.ratios(job, yardstick)
    one_beside_session, session_job = figures.column(in_session, "ssh"), figures.column(in_session, "job")
    session_ratio = figures.ratios(session_job, one_beside_session)

    def row(name, seconds, ratio=None, beside="", target=None):
        row = [name, str(len(seconds)), figures.spread([second * 1000 for second in seconds], "{:.0f}")]
        if ratio:
            row += [figures.spread(ratio), beside]
        if target:
            row += [f"<= {target}", figures.verdict(figures.median(ratio), "<=", target)]
        return row

    tables = [figures.table(
        f"A tiny word count on {hosts} hosts, command to prompt; milliseconds: median (least..greatest)",
        ["", "n", "ms", "ratio", "beside", "target", ""],
        [
            row("ssh to one host", one),
            row(f"ssh to all {hosts} hosts at once", every, figures.ratios(every, one), "ssh to one host"),
            row("per job, warm", job, ratio, beside, PER_JOB_TARGET),
            row("per job, first (uploads)", [result["cold"]]),
            row("session start", [result["sessionStart"]]),
            row("session job, first (starts TaskManagers)", [result["firstInSession"]]),
            row("session job", session_job, session_ratio, "ssh to one host", SESSION_TARGET),
        ],
        "After each per-job run no process of ours was left on any host.",
    )]
    if options.phases:
        names = list(dict.fromkeys(name for round_ in per_job for name in round_["phases"]))
        rows = [row(name, [round_["phases"].get(name, 0.0) for round_ in per_job]) for name in names]
        rest = [round_["job"] - sum(round_["phases"].values()) for round_ in per_job]
        tables.append(figures.table("Phases of the warm per-job runs, as flinkctl tells them", ["", "n", "ms"],
                                    [*rows, row("everything else", rest)]))
    return tables

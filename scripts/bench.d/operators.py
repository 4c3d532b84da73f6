"""What operators cost within one task: the example `operators_bench`, each case beside its yardstick in the same round."""

import json
import os
import subprocess

import bed
import figures

# Chains and loops cost so little that they need many records.
CHAIN_RECORDS = 20
KEYS = (1_000, 100_000)
# Of the cases with keys, those that count per window.
WINDOWS = ("tumbling", "sliding", "session")
WINDOWS_PER_RECORD = {"tumbling": 1, "sliding": 60, "session": 1}
# A rate at which so many records fall into one window.
ONE_WINDOW_RATE = 1_000_000_000
KEY_AND_VALUE_BYTES = 16

CHAIN_NS, SLIDING_RATIO, STATE_RATIO, BYTES_PER_KEY = 5, 2, 1.3, 150


def beds(_):
    # One process, no hosts.
    return [None]


def measure(options):
    rounds = []
    for number in range(options.runs):
        bed.say(f"round {number + 1} of {options.runs}")
        rounds.append(one_round(options))
    return {"rounds": rounds}


def one_round(options):
    found = {}
    many = options.records * CHAIN_RECORDS
    for case in ("loop", "chain"):
        found[case] = run(case, many)
    same("chain", found["chain"], found["loop"])
    for keys in KEYS:
        cases = {case: run(case, options.records, keys) for case in ("events", *WINDOWS, "map", "state")}
        for case in WINDOWS:
            # Each record is counted in each of its windows.
            expected = options.records * WINDOWS_PER_RECORD[case]
            if cases[case]["sum"] != expected:
                raise figures.Wrong(f"operators, {case}: counted {cases[case]['sum']}, not {expected}")
        same("state", cases["state"], cases["map"])
        found[str(keys)] = cases
    found["memory"] = {case: run(case, options.memory_keys, options.memory_keys, ONE_WINDOW_RATE) for case in ("events", "tumbling")}
    counted = found["memory"]["tumbling"]["results"]
    if counted != options.memory_keys:
        raise figures.Wrong(f"operators, memory: {counted} keys in one window, not {options.memory_keys}")
    return found


def same(name, subject, yardstick):
    if (subject["results"], subject["sum"]) != (yardstick["results"], yardstick["sum"]):
        raise figures.Wrong(f"operators, {name}: other results than those of its yardstick")


def run(case, records, keys=1, rate=None):
    """CPU seconds and peak memory of a process, as its end tells them, and what it says of its results."""
    command = [bed.example("operators_bench"), "--case", case, "--records", str(records), "--keys", str(keys)]
    command += ["--rate", str(rate)] if rate else []
    program = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    output, errors = program.stdout.read(), program.stderr.read()
    _, status, usage = os.wait4(program.pid, 0)
    program.returncode = os.waitstatus_to_exitcode(status)
    if program.returncode != 0:
        raise figures.Wrong(f"operators, {case}: {errors.strip()}")
    return {**json.loads(output.splitlines()[-1]), "records": records, "cpu": usage.ru_utime + usage.ru_stime,
            "peakBytes": usage.ru_maxrss * 1024}


def report(options, results):
    (result,) = results
    return [costs(options, result["rounds"]), targets(options, result["rounds"])]


def nanoseconds(rounds, *path):
    """CPU time for a record."""
    return [found["cpu"] / found["records"] * 1e9 for found in figures.column(rounds, *path)]


def beyond(rounds, keys, case):
    """CPU time for a record, without that of making the events: never nothing, since it divides and is divided."""
    whole, events = nanoseconds(rounds, str(keys), case), nanoseconds(rounds, str(keys), "events")
    return [max(one - other, 0.1) for one, other in zip(whole, events, strict=True)]


def costs(options, rounds):
    rows = [[name, figures.spread(nanoseconds(rounds, case), "{:.1f}")]
            for name, case in (("map, filter, map: plain loop", "loop"), ("map, filter, map: job", "chain"))]
    for keys in KEYS:
        rows.append([f"{keys:,} keys: events alone", figures.spread(nanoseconds(rounds, str(keys), "events"), "{:.1f}")])
        for case, name in (("tumbling", "windows of 60 s"), ("sliding", "windows of 60 s by 1 s"), ("session", "sessions, gap 60 s"),
                           ("map", "hash map"), ("state", "value state")):
            cost = beyond(rounds, keys, case)
            results = [found["results"] / found["records"] for found in figures.column(rounds, str(keys), case)]
            rows.append([f"{keys:,} keys: {name}", figures.spread(nanoseconds(rounds, str(keys), case), "{:.1f}"),
                         figures.spread(cost, "{:.1f}"), f"{figures.median(results):.2f}",
                         # Where results are rare, the records are what costs.
                         figures.spread(figures.ratios(cost, results), "{:.1f}") if figures.median(results) >= 0.05 else ""])
    return figures.table(
        f"CPU time in one task, {len(rounds)} rounds: medians (least..greatest)",
        ["", "ns/record", "less events", "results/record", "ns/result"],
        rows,
        f"{options.records * CHAIN_RECORDS / 1e6:g} M records without keys, {options.records / 1e6:g} M with, 5,000 of these per second of "
        "event time. All results were checked.",
    )


def targets(options, rounds):
    chain = [job - loop for job, loop in zip(nanoseconds(rounds, "chain"), nanoseconds(rounds, "loop"), strict=True)]
    rows = []

    def row(name, values, target):
        rows.append([name, figures.spread(values), f"<= {target}", figures.verdict(figures.median(values), "<=", target)])

    row("map, filter, map: ns/record over the plain loop", chain, CHAIN_NS)
    for keys in KEYS:
        row(f"{keys:,} keys: sliding, x tumbling", figures.ratios(beyond(rounds, keys, "sliding"), beyond(rounds, keys, "tumbling")), SLIDING_RATIO)
    for keys in KEYS:
        row(f"{keys:,} keys: value state, x hash map", figures.ratios(beyond(rounds, keys, "state"), beyond(rounds, keys, "map")), STATE_RATIO)
    peaks = (figures.column(rounds, "memory", case, "peakBytes") for case in ("tumbling", "events"))
    memory = [(full - empty) / options.memory_keys - KEY_AND_VALUE_BYTES for full, empty in zip(*peaks, strict=True)]
    row(f"window count of {options.memory_keys / 1e6:g} M keys: bytes per key beyond key and value", memory, BYTES_PER_KEY)
    return figures.table("Targets", ["", "measured", "target", ""], rows, "Windows, state and hash map without what the events cost.")

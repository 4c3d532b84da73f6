"""Nexmark queries in one process: the example `nexmark` beside Renoir on the same events, and beside the generator alone."""

import json
import os
import resource

import bed
import figures
import yardsticks

QUERIES = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "13")
GENERATOR = "generator"

build = yardsticks.build


def beds(_):
    # The queries run in one process; a host is what a benchmark runs on.
    return [{"hosts": 1}]


def measure(options):
    rounds = []
    for number in range(options.runs):
        one = {}
        for query in (GENERATOR, *options.queries):
            bed.say(f"round {number + 1} of {options.runs}: {query if query == GENERATOR else 'query ' + query}")
            one[query] = {"renoir": renoir(query, options)}
            if query != GENERATOR:
                one[query]["flink"] = flink(query, options)
        rounds.append(one)
    return {"rounds": rounds}


def flink(query, options):
    command = [bed.example("nexmark"), "--query", query, "--events", str(options.events)]
    return watched(command, env={**os.environ, "FLINK_PARALLELISM": str(options.parallelism)})[0]


def renoir(query, options):
    program = os.path.join(bed.binaries(), "renoir-nexmark")
    found, output = watched([program, query, str(options.events), str(options.parallelism)])
    return {**found, "answers": json.loads(output)["answers"]}


def watched(command, **more):
    """Both are measured from outside, whole processes: their start costs some milliseconds of seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds, done = bed.timed(command, **more)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": seconds, "cpu": cpu}, done.stdout


def report(options, results):
    (result,) = results
    rounds, events = result["rounds"], options.events

    def millions(seconds):
        return figures.spread([events / second / 1e6 for second in seconds], "{:.2f}")

    def nanoseconds(seconds):
        return f"{figures.median(seconds) / events * 1e9:.0f}"

    generator = figures.column(rounds, GENERATOR, "renoir", "cpu")
    seconds = figures.column(rounds, GENERATOR, "renoir", "seconds")
    rows = [["generator alone", str(len(rounds)), millions(seconds), "", "", nanoseconds(generator)]]
    for query in options.queries:
        ours, theirs = (figures.column(rounds, query, engine, "seconds") for engine in ("flink", "renoir"))
        our_cpu, their_cpu = (figures.column(rounds, query, engine, "cpu") for engine in ("flink", "renoir"))
        beyond = [[max(cpu - own, 0.0) for cpu, own in zip(cpus, generator)] for cpus in (our_cpu, their_cpu)]
        rows.append([
            f"query {query}", str(len(rounds)), millions(ours), millions(theirs),
            figures.spread(figures.ratios(theirs, ours)),
            nanoseconds(our_cpu), nanoseconds(their_cpu), nanoseconds(beyond[0]), nanoseconds(beyond[1]),
        ])
    return [figures.table(
        f"Nexmark, {events / 1e6:g} M events, parallelism {options.parallelism}",
        ["", "n", "M events/s", "Renoir", "x Renoir", "CPU ns/event", "Renoir", "less generator", "Renoir"],
        rows,
        "x Renoir: its seconds by ours, so that above 1 ours is faster. The last two columns are what the engine and the query "
        "cost beyond making the events.",
    )]

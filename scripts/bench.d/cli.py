"""The command line. A benchmark runs twice: outside it builds and makes a test bed, inside (`--inside`) it measures."""

import argparse
import importlib
import json
import os
import subprocess
import sys
import time

import figures
import nexmark

DESCRIPTION = """\
Measures flinkctl, beside a yardstick in the same run: plain ssh, one bare TCP+TLS stream, Renoir, a plain loop. All but
`operators` runs on hosts of the test bed.

  scripts/bench startup                start, tiny job, stop: beside `ssh host true`
  scripts/bench startup --hosts 12 --phases
  scripts/bench exchange               the data plane between two hosts, MTU 1500 and 9000: beside TCP+TLS
  scripts/bench memory                 size of flinkctl, memory of idle processes
  scripts/bench wordcount --mib 200    words per second, in one process, beside Renoir, and over hosts
  scripts/bench nexmark --runs 3       queries on generated events, in one process: beside Renoir
  scripts/bench operators              chains, windows and state in one task: beside a loop, a hash map

All hosts share the cores of this machine (in `exchange` each host has its own), so absolute figures say little: look at the
ratios. Yardstick and subject take turns, round by round; a ratio is the median of the rounds' ratios. Run it alone: the load
average is printed for that.
Nothing here passes or fails: a missed target is printed, and the exit code is 0.

  TESTBED_BIN  a directory with release binaries (and examples/) to measure; nothing is built then
"""
BINARIES = (
    ("-p", "flinkctl", "--bins"),
    ("-p", "flink", "--example", "wordcount", "--example", "exchange", "--example", "nexmark", "--example", "operators_bench"),
    ("-p", "flink-exchange", "--example", "transport_bench"),
)


def _positive(text):
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError("expected a number above 0")
    return int(text)


def _mtus(text):
    try:
        mtus = [int(part) for part in text.split(",")]
    except ValueError:
        mtus = []
    if not mtus or not set(mtus) <= {1500, 9000}:
        raise argparse.ArgumentTypeError("expected 1500, 9000 or 1500,9000")
    return mtus


def _queries(text):
    queries = text.split(",")
    if not set(queries) <= set(nexmark.QUERIES):
        raise argparse.ArgumentTypeError(f"expected some of {','.join(nexmark.QUERIES)}")
    return queries


def parser():
    top = argparse.ArgumentParser(
        prog="scripts/bench", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    top.add_argument("--inside", metavar="OPTIONS", help=argparse.SUPPRESS)
    benchmarks = top.add_subparsers(dest="benchmark", metavar="BENCHMARK")

    def benchmark(name, text):
        it = benchmarks.add_parser(name, help=text, description=text, allow_abbrev=False)
        it.add_argument("--json", action="store_true", help="print one JSON document: report, and what it was made of")
        it.add_argument("--no-build", action="store_true", help="measure target/release as it is")
        return it

    it = benchmark("startup", "per-job and session runs of a tiny word count, command to prompt")
    it.add_argument("--hosts", type=_positive, default=3, metavar="N", help="hosts of the test bed (default 3)")
    it.add_argument("--runs", type=_positive, default=10, metavar="N", help="rounds (default 10)")
    it.add_argument("--phases", action="store_true", help="also show the phases of the warm per-job runs")
    it = benchmark("exchange", "the example `exchange` between two TaskManagers, and the bare data plane")
    it.add_argument("--mtu", type=_mtus, default=[1500, 9000], metavar="LIST", help="of all links (default 1500,9000)")
    it.add_argument("--runs", type=_positive, default=3, metavar="N", help="rounds (default 3)")
    it.add_argument("--seconds", type=_positive, default=3, metavar="N", help="length of each case (default 3)")
    it.add_argument("--jobs-only", action="store_true", help="only TCP+TLS and the jobs")
    it = benchmark("memory", "size of flinkctl, resident memory of an idle JobManager and TaskManager")
    it = benchmark("wordcount", "words per second of the example `wordcount`, beside Renoir, compared with an independent count")
    it.add_argument("--mib", type=_positive, default=200, metavar="N", help="size of the text (default 200)")
    it.add_argument("--runs", type=_positive, default=3, metavar="N", help="rounds (default 3)")
    it = benchmark("nexmark", "queries of the example `nexmark`, beside Renoir and beside the generator alone")
    it.add_argument("--events", type=_positive, default=10_000_000, metavar="N", help="of each run (default 10000000)")
    it.add_argument("--parallelism", type=_positive, default=2, metavar="N", help="of both (default 2)")
    it.add_argument("--queries", type=_queries, default=nexmark.QUERIES, metavar="LIST", help="such as 0,5 (default all)")
    it.add_argument("--runs", type=_positive, default=3, metavar="N", help="rounds (default 3)")
    it = benchmark("operators", "what operators cost within one task: the example `operators_bench`")
    it.add_argument("--records", type=_positive, default=5_000_000, metavar="N", help="of cases with keys (default 5000000)")
    it.add_argument("--memory-keys", type=_positive, default=10_000_000, metavar="N", help="of the window whose memory is measured "
                    "(default 10000000)")
    it.add_argument("--runs", type=_positive, default=3, metavar="N", help="rounds (default 3)")
    return top


def main(arguments, script):
    top = parser()
    options = top.parse_args(arguments)
    if not options.inside and not options.benchmark:
        top.error("which benchmark?")
    try:
        return inside(options.inside) if options.inside else outside(options, script)
    except subprocess.CalledProcessError as error:
        if not isinstance(error, Inside):
            print(f"bench: exit code {error.returncode} of: {' '.join(map(str, error.cmd))}", file=sys.stderr)
        return 1
    except figures.Wrong as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


class Inside(subprocess.CalledProcessError):
    """The inside has failed, and said why."""


def inside(told):
    options = argparse.Namespace(**json.loads(told))
    json.dump(importlib.import_module(options.benchmark).measure(options), sys.stdout)
    return 0


def outside(options, script):
    benchmark = importlib.import_module(options.benchmark)
    repository = os.path.dirname(os.path.dirname(script))
    if not options.no_build and not os.environ.get("TESTBED_BIN"):
        build(repository)
        # A yardstick that is a program, not a crate of ours.
        getattr(benchmark, "build", lambda _: None)(repository)
    load = [os.getloadavg()[0]]
    results = [in_test_bed(options, script, bed) if bed else without(options, repository) for bed in benchmark.beds(options)]
    load.append(os.getloadavg()[0])
    report = benchmark.report(options, results)
    surroundings = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": os.uname().release,
        "loadBefore": round(load[0], 2),
        "loadAfter": round(load[1], 2),
    }
    if options.json:
        print(json.dumps({"benchmark": options.benchmark, **surroundings, "report": report, "results": results}, indent=2))
        return 0
    cores = "cores play all hosts" if all(benchmark.beds(options)) else "cores"
    print(
        f"scripts/bench {options.benchmark}: {surroundings['cores']} {cores}, Linux {surroundings['kernel']}, "
        f"load average {load[0]:.2f} before, {load[1]:.2f} after"
    )
    for table in report:
        print()
        figures.show(table)
    return 0


def build(repository):
    for packages in BINARIES:
        command = ["cargo", "build", "--locked", "--quiet", "--release", *packages]
        subprocess.run(command, cwd=repository, stdout=sys.stderr, check=True)


def without(options, repository):
    """Runs a benchmark that needs no hosts."""
    target = os.environ.get("CARGO_TARGET_DIR", os.path.join(repository, "target"))
    binaries = os.environ.get("TESTBED_BIN", os.path.join(target, "release"))
    os.environ["PATH"] = f"{os.path.abspath(binaries)}:{os.environ['PATH']}"
    return importlib.import_module(options.benchmark).measure(options)


def in_test_bed(options, script, bed):
    """Runs the inside of a benchmark on the operator's machine of a test bed; its answer comes on standard output."""
    told = json.dumps({**vars(options), **bed})
    testbed = [os.path.join(os.path.dirname(script), "testbed"), "run", "--hosts", str(bed["hosts"])]
    command = [*testbed, "--mtu", str(bed.get("mtu", 1500)), "--", sys.executable, script, "--inside", told]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if done.returncode != 0:
        raise Inside(done.returncode, command)
    return json.loads(done.stdout)

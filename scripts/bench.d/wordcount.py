"""Words per second: in one process, beside Renoir, and over hosts, all compared with an independent count."""

import collections
import glob
import itertools
import os
import random
import re
import resource
import shutil

import bed
import figures
import yardsticks

MIB = 1 << 20
VOCABULARY = 50_000
WORDS_PER_LINE = 12
SEED = 1
# Our words per second by Renoir's.
RENOIR_RATIO = 1.0

build = yardsticks.build


def beds(_):
    return [{"hosts": 3}]


def measure(options):
    shared = os.environ["TESTBED_SHARED"]
    text = os.path.join(shared, "text.txt")
    bed.say(f"writing {options.mib} MiB of text, and counting it")
    expected = write_text(text, options.mib * MIB)
    program = bed.example("wordcount")
    output = os.path.join(shared, "counts")
    arguments = ["--input", text, "--output", output]
    rounds = []
    with bed.session("-D", "defaults.slots=1"):
        # Slots of a session are not released between jobs, but the first two jobs bring them up.
        ways = {
            "renoir": lambda: renoir(text, output),
            "local": lambda: in_process(["flinkctl", "job", "run", "--local", "-p", "2", program, "--", *arguments]),
            "hosts2": lambda: on_hosts(program, arguments, 2),
            "hosts3": lambda: on_hosts(program, arguments, 3),
        }
        on_hosts(program, [], 3)
        for number in range(options.runs):
            figures_of_round = {}
            for name, run in ways.items():
                bed.say(f"round {number + 1} of {options.runs}: {name}")
                shutil.rmtree(output, ignore_errors=True)
                figures_of_round[name] = run()
                if read_counts(output) != expected:
                    raise figures.Wrong("wordcount: the counts are wrong")
            rounds.append(figures_of_round)
    return {"mib": options.mib, "words": sum(expected.values()), "distinct": len(expected), "rounds": rounds}


def write_text(path, size):
    """Words as frequent as Zipf has it, some with capitals and punctuation. Returns the count, which is made from what was
    written, not from what was meant."""
    choose = random.Random(SEED)
    letters = "eeeeeeetttttaaaaooooiiinnnssshhhrrrdddlllucmwfgypbvkxjqz"
    # Some words have letters beyond ASCII.
    alphabets = [letters] * 7 + [letters + "äöüé"]
    words = ["".join(choose.choices(choose.choice(alphabets), k=choose.randint(1, 12))) for _ in range(VOCABULARY)]
    words = list(dict.fromkeys(words))
    words.sort(key=lambda word: len(word) + choose.random() * 4)  # Frequent words are short.
    variants = []
    for index, word in enumerate(words):
        variants.append(word.capitalize() if index % 11 == 3 else word + ("," if index % 7 == 2 else ""))
    weights = list(itertools.accumulate(1 / (rank + 2.7) for rank in range(len(words))))
    count, written = collections.Counter(), 0
    with open(path, "wb") as file:
        while written < size:
            lines = []
            for _ in range(20_000):
                lines.append(" ".join(choose.choices(variants, cum_weights=weights, k=WORDS_PER_LINE)))
            data = ("\n".join(lines) + ".\n").encode()
            written += file.write(data)
            count.update(re.sub(r"[,.]", " ", data.decode().lower()).split())
    return dict(count)


def read_counts(directory):
    counts = {}
    for part in glob.glob(os.path.join(directory, "*")):
        with open(part, encoding="utf-8") as file:
            for line in file:
                word, _, count = line.rstrip("\n").partition(",")
                counts[word] = counts.get(word, 0) + int(count)
    return counts


def renoir(text, output):
    os.mkdir(output)
    return in_process([os.path.join(bed.binaries(), "renoir-wordcount"), text, os.path.join(output, "counts"), "2"])


def in_process(command):
    """Whole processes, from outside: their start costs some milliseconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds, _ = bed.timed(command)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"seconds": seconds, "cpu": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime}


def on_hosts(program, arguments, hosts):
    _, job, cpu = bed.run_in_session(program, *arguments, parallelism=hosts)
    on = {channel["sourceHost"] for channel in job["channels"]}
    return {"seconds": job["durationMs"] / 1000, "cpu": cpu, "network": bed.network_bytes(job), "hosts": len(on)}


def report(_, results):
    (result,) = results
    words, rounds = result["words"], result["rounds"]

    def row(name, key):
        seconds, cpu = (figures.column(rounds, key, of) for of in ("seconds", "cpu"))
        their_seconds, their_cpu = (figures.column(rounds, "renoir", of) for of in ("seconds", "cpu"))
        row = [
            name, str(len(seconds)),
            figures.spread([words / second / 1e6 for second in seconds], "{:.1f}"),
            figures.spread(figures.ratios(their_seconds, seconds)),
            figures.spread([second / words * 1e9 for second in cpu], "{:.0f}"),
            figures.spread(figures.ratios(cpu, their_cpu)),
        ]
        over_hosts = "network" in rounds[0][key]
        return [*row, f"{figures.median(figures.column(rounds, key, 'network')) / MIB:.0f}"] if over_hosts else row

    ratio = figures.ratios(figures.column(rounds, "renoir", "seconds"), figures.column(rounds, "local", "seconds"))
    return [
        figures.table(
            f"Word count of {result['mib']} MiB, {words / 1e6:.1f} M words, {result['distinct']} of them different",
            ["", "n", "M words/s", "x Renoir", "CPU ns/word", "x Renoir", "MiB over the network"],
            [
                row("Renoir, in one process, 2 threads", "renoir"),
                row("in one process, -p 2", "local"),
                row("2 hosts, -p 2", "hosts2"),
                row("3 hosts, -p 3", "hosts3"),
            ],
            "All counts, Renoir's too, were equal to an independent count of the text.",
        ),
        figures.table(
            "Targets", ["", "measured", "target", ""],
            [["words/s in one process, x Renoir", figures.spread(ratio), f">= {RENOIR_RATIO}",
              figures.verdict(figures.median(ratio), ">=", RENOIR_RATIO)]],
        ),
    ]

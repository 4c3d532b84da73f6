"""The command line: options, help texts, and how answers are printed. Nothing here acts on a host."""

import argparse
import json
import re
import sys

import plan

DESCRIPTION = """\
Real Linux hosts with sshd, on one machine, for tests: each has its own network, processes, host name, disk and sshd
(Debian's defaults). They are made of namespaces, cost a few MB each, and leave nothing behind, not even after SIGKILL.

  scripts/testbed run --hosts 3 -- flinkctl job run --per-job target/release/examples/wordcount
  scripts/testbed run --hosts 3 -- bash            # look around: ssh h2, "$TESTBED" hosts, ...

CMD runs on one more host, `ops`, in the current directory. There are:
  FLINKCTL_CLUSTER_FILE  a cluster.toml with all hosts (h1: JobManager and TaskManager, the others TaskManagers)
  TESTBED_SHARED         a directory that is the same on all hosts
  TESTBED_DIR            its state: cluster.toml, ssh_config, logs/HOST, disks/HOST/{root,tmp,var-tmp,changes}
  TESTBED_MODE           namespaces | loopback
  TESTBED                this program, for the other sub-commands, which work inside of CMD only
  PATH                   begins with target/release, or with $TESTBED_BIN if that is set

Without root, or where namespaces are refused, hosts are mere sshd's on 127.0.1.x as the current user: power-off,
power-on, freeze, thaw, partition, heal and limit-disk then exit with 69. `--mode namespaces` insists on real ones.
"""
EXIT_CODES = """\
exit codes: run and exec: that of the command (128 + N after signal N).  1 refused or failed, 2 usage,
69 something is not installed or not supported here, 70 the test bed itself failed, 127 no such command.
"""
UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def size(text):
    """Bytes from 4k, 64M, 1G (also with iB or B)."""
    found = re.fullmatch(r"(\d+)([kKmMgG]?)(?:i?B)?", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 64M")
    return int(found[1]) * UNITS[found[2].lower()]


def _disk_limit(text):
    name, separator, amount = text.rpartition("=")
    if separator and not name:
        raise argparse.ArgumentTypeError("expected SIZE or HOST=SIZE")
    return name, str(size(amount))


def _host_count(text):
    if not text.isdigit() or not 1 <= int(text) <= plan.MAX_HOSTS:
        raise argparse.ArgumentTypeError(f"expected 1 to {plan.MAX_HOSTS}")
    return int(text)


def parser():
    top = argparse.ArgumentParser(
        prog="scripts/testbed",
        description=DESCRIPTION,
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    verbs = top.add_subparsers(dest="verb", required=True, metavar="SUB-COMMAND")

    def verb(name, text):
        return verbs.add_parser(name, help=text, description=text, allow_abbrev=False)

    it = verb("run", "make hosts, run CMD, remove everything: run [OPTIONS] -- CMD...")
    it.add_argument("--hosts", type=_host_count, default=3, metavar="N", help="hosts h1 ... hN besides ops (default 3)")
    it.add_argument(
        "--jump", action="store_true", help="ops reaches only one more host, `jump`; h1 ... hN are behind it"
    )
    it.add_argument("--mtu", type=int, choices=(1500, 9000), default=1500, help="of all network cards (default 1500)")
    it.add_argument(
        "--disk-limit",
        type=_disk_limit,
        action="append",
        default=[],
        metavar="[HOST=]SIZE",
        help="size of the disk of one or of every host (default: half of the memory)",
    )
    it.add_argument(
        "--bind",
        action="append",
        default=[],
        metavar="DIR",
        help="a directory below /root, /tmp, /var/tmp, /run or /dev/shm that ops is to see as it is",
    )
    it.add_argument("--mode", choices=("auto", "namespaces", "loopback"), default="auto")

    it = verb("hosts", "list the hosts: name, address, state (up, off, frozen), partitions")
    it.add_argument("--json", action="store_true", help="one JSON object a line")
    it = verb("ps", "list all processes of a host")
    it.add_argument("host")
    it.add_argument("--json", action="store_true", help="one JSON object a line: pid, ppid, state, rss_kib, name, args")
    it = verb("exec", "run CMD as root on a host, without ssh: exec HOST -- CMD...")
    it.add_argument("host")
    for name, text in (
        ("power-off", "pull the plug: the network is gone at once, then all processes; no FIN, no RST, no ICMP"),
        ("power-on", "boot the host again, with the same disk"),
        ("freeze", "stop all processes at one instant; the network card stays up"),
        ("thaw", "let the processes of a frozen host go on"),
    ):
        verb(name, text).add_argument("host")
    it = verb("partition", "drop all packets between A and B (default for B: everybody), silently")
    it.add_argument("first", metavar="A")
    it.add_argument("second", metavar="B", nargs="?")
    it = verb("heal", "end the partition of A and B, all partitions of A, or all")
    it.add_argument("first", metavar="A", nargs="?")
    it.add_argument("second", metavar="B", nargs="?")
    it = verb("limit-disk", "resize the disk of a running host; 0 = back to the default")
    it.add_argument("host")
    group = it.add_mutually_exclusive_group(required=True)
    group.add_argument("size", type=size, nargs="?", metavar="SIZE", help="whole size, as 64M")
    group.add_argument("--free", type=size, metavar="SIZE", help="leave this much free instead")
    it = verb("self-test", "check the test bed itself (about half a minute)")
    it.add_argument("names", nargs="*", metavar="NAME", help="only checks whose names contain one of these")
    it.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    return top


def main(arguments, script):
    command = []
    if "--" in arguments:
        cut = arguments.index("--")
        arguments, command = arguments[:cut], arguments[cut + 1 :]
    top = parser()
    options = top.parse_args(arguments)
    if (options.verb in ("run", "exec")) != bool(command):
        top.error(f"{options.verb} " + ("takes no command" if command else "needs a command: -- CMD..."))
    try:
        return _dispatch(options, command, script)
    except plan.TestbedError as error:
        print(f"testbed: {error}", file=sys.stderr)
        return error.code
    except KeyboardInterrupt:
        return 130


def _dispatch(options, command, script):
    if options.verb == "run":
        import run

        limits = dict(options.disk_limit)
        unknown = [name for name in limits if name and name not in plan.make_hosts(options.hosts, options.jump, {})]
        if unknown:
            raise plan.TestbedError(f"--disk-limit: no host {unknown[0]!r}", 2)
        options.disk_limit = limits
        return run.run(options, command, script)
    if options.verb == "self-test":
        if options.inside:
            import selftest_inside

            return selftest_inside.main(script, options.names)
        import selftest

        return selftest.main(script, options.names)
    import control

    if options.verb == "exec":
        return control.request("exec", {"host": options.host, "command": command}, (0, 1, 2))
    hidden = ("verb", "json")
    result = control.request(options.verb, {key: value for key, value in vars(options).items() if key not in hidden})
    if options.verb in ("hosts", "ps"):
        print_rows(options, result)
    return 0


def print_rows(options, rows):
    if options.json:
        for row in rows:
            print(json.dumps(row))
    elif options.verb == "hosts":
        print(f"{'NAME':6} {'ADDRESS':14} {'STATE':8} {'PORT':5} PARTITIONED FROM")
        for row in rows:
            apart = "everybody" if row["isolated"] else " ".join(row["apart"])
            print(f"{row['name']:6} {row['address']:14} {row['state']:8} {row['port']:<5} {apart}".rstrip())
    else:
        print(f"{'PID':>6} {'PPID':>6} S {'RSS MiB':>7} ARGS")
        for row in rows:
            args = " ".join(row["args"])
            print(f"{row['pid']:6} {row['ppid']:6} {row['state']} {row['rss_kib'] / 1024:7.1f} {args}")

"""What a test bed consists of: its hosts, their addresses, and the text of the files generated from them. No IO."""

from dataclasses import dataclass

OUTER, INNER = 0, 1  # The numbers of the two networks; without --jump there is only the outer one.
MAX_HOSTS = 200
OPS, JUMP = 254, 253  # Host parts of their addresses; h<i> has i.
STATE_DIR = "/run/testbed"
SHARED_DIR = "/run/testbed/shared"
# The bridges' own MAC address. A bridge hands a frame for it to its own machine, where no address listens and nothing
# is forwarded: the frame is gone without an answer. So this is where packets of a partition are sent.
VOID_MAC = "02:77:ff:ff:ff:ff"


class TestbedError(Exception):
    """Something the user can act on; `code` is the exit code."""

    def __init__(self, message, code=1):
        super().__init__(message)
        self.code = code


UNAVAILABLE = 69  # EX_UNAVAILABLE of sysexits.h: a tool or a privilege is missing.


@dataclass
class Card:
    """One network card, and the port of the bridge at the other end of its cable."""

    network: int
    device: str
    port: str
    number: int

    @property
    def bridge(self):
        return f"br{self.network}"

    @property
    def address(self):
        return f"10.77.{self.network}.{self.number}"

    @property
    def address6(self):
        return f"fd77:0:0:{self.network}::{self.number:x}"

    @property
    def mac(self):
        return f"02:77:00:00:{self.network:02x}:{self.number:02x}"


@dataclass
class Host:
    """One host. `roles` is empty for ops and jump, which are not in cluster.toml."""

    name: str
    cards: list
    roles: tuple = ()
    disk_size: str = ""
    # The rest is state while the test bed runs.
    init_pid: int = 0
    state: str = "off"
    port: int = 22
    address_override: str = ""

    @property
    def address(self):
        return self.address_override or self.cards[-1].address


@dataclass
class Plan:
    """One call of `testbed run`."""

    hosts: dict
    command: list
    cwd: str
    environ: dict
    script: str
    repository: str
    binaries: str
    kept: list
    mtu: int = 1500
    umask: int = 0o022


def make_hosts(count, jump, disk_sizes):
    """`disk_sizes` maps host names to sizes; the key "" is for all hosts that are not named."""
    hosts = [Host("ops", [Card(OUTER, "eth0", "ops", OPS)])]
    if jump:
        hosts.append(Host("jump", [Card(OUTER, "eth0", "jump", JUMP), Card(INNER, "eth1", "jump.1", JUMP)]))
    for number in range(1, count + 1):
        name = f"h{number}"
        card = Card(INNER if jump else OUTER, "eth0", name, number)
        roles = ("jobmanager", "taskmanager") if number == 1 else ("taskmanager",)
        hosts.append(Host(name, [card], roles, disk_sizes.get(name, disk_sizes.get("", ""))))
    return {host.name: host for host in hosts}


def jump_address(hosts):
    """The address at which ops reaches the jump host."""
    jump = hosts["jump"]
    return jump.address_override or jump.cards[0].address


def neighbours(host, hosts):
    """(own card, peer, the peer's card) for every other host on the same wire."""
    for own in host.cards:
        for peer in hosts.values():
            for card in peer.cards:
                if peer is not host and card.network == own.network:
                    yield own, peer, card


def hosts_file(host, hosts):
    """/etc/hosts of one host: each name with the address that this host can reach, if there is one."""
    reachable = {peer.name: card for _, peer, card in neighbours(host, hosts)}
    lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback"]
    for peer in hosts.values():
        card = reachable.get(peer.name, peer.cards[-1])
        lines.append(f"{card.address} {peer.name}")
        lines.append(f"{card.address6} {peer.name}.ipv6")
    return "\n".join(lines) + "\n"


def cluster_toml(hosts, user, identity_file, known_hosts="", workdir=""):
    """The inventory. Only keys without which flinkctl would not find the hosts: the rest is for tests to add."""
    lines = ["schema = 1", "", "[cluster]", 'name = "testbed"', "", "[ssh]", f'user = "{user}"']
    lines.append(f'identity_file = "{identity_file}"')
    if known_hosts:
        lines.append(f'known_hosts = "{known_hosts}"')
    if "jump" in hosts:
        port = hosts["jump"].port
        lines.append(f'jump = ["{user}@{jump_address(hosts)}{"" if port == 22 else f":{port}"}"]')
    lines += ["", "[defaults]", "slots = 2"]
    for host in hosts.values():
        if not host.roles:
            continue
        roles = ", ".join(f'"{role}"' for role in host.roles)
        lines += ["", "[[host]]", f'name = "{host.name}"', f'address = "{host.address}"', f"roles = [{roles}]"]
        if host.port != 22:
            lines.append(f"ssh = {{ port = {host.port} }}")
        if workdir:
            lines.append(f'workdir = "{workdir.format(host=host.name)}"')
    return "\n".join(lines) + "\n"


def ssh_config(hosts, user, identity_file, known_hosts):
    """For `ssh -F $TESTBED_DIR/ssh_config h2`: works in every mode, also through the jump host."""
    lines = []
    for host in hosts.values():
        if host.name == "ops":
            continue
        address = jump_address(hosts) if host.name == "jump" else host.address
        lines += [f"Host {host.name}", f"    HostName {address}", f"    Port {host.port}"]
        if "jump" in hosts and host.roles:
            lines.append("    ProxyJump jump")
    lines += ["Host *", f"    User {user}", f"    IdentityFile {identity_file}", "    IdentitiesOnly yes"]
    lines += ["    StrictHostKeyChecking accept-new", f"    UserKnownHostsFile {known_hosts}", "    LogLevel ERROR"]
    return "\n".join(lines) + "\n"

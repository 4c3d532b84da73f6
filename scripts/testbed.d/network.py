"""The wires: bridges in the network namespace of the test bed itself, a cable to each card of each host, partitions.

Neighbours are fixed entries (no ARP), for three reasons. A host that is gone is mere silence, never a local "no route
to host" after three seconds. 40 hosts that all know each other would overflow the kernel's one ARP table (gc_thresh3 =
1024 for all namespaces together; fixed entries do not count). And a partition of two hosts is one entry changed on
either side to a MAC address that leads nowhere: silent, exact, and it needs neither nftables nor tc.
"""

import os
import socket
import subprocess

import plan


def ip(lines, namespace=None):
    """Runs one `ip -batch`; `namespace` is an open network namespace to run it in."""
    if not lines:
        return
    command = ["ip", "-batch", "-"]
    if namespace is not None:
        command = ["nsenter", f"--net=/proc/self/fd/{namespace}", *command]
    fds = () if namespace is None else (namespace,)
    done = subprocess.run(command, input="\n".join(lines).encode(), capture_output=True, pass_fds=fds)
    if done.returncode != 0:
        raise plan.TestbedError(f"ip: {done.stderr.decode(errors='replace').strip()}")


def _has_ipv6():
    return os.path.isdir("/proc/sys/net/ipv6")


def _bridge(command):
    subprocess.run(["bridge", *command], check=True, capture_output=True)


class Network:
    """Acts in the network namespace of the bridges, which is that of the calling process."""

    def __init__(self, hosts, mtu):
        self.hosts = hosts
        self.mtu = mtu
        self.apart = set()  # frozensets of two names
        self.isolated = set()

    def create(self):
        if _has_ipv6():
            for scope in ("all", "default"):
                with open(f"/proc/sys/net/ipv6/conf/{scope}/disable_ipv6", "w", encoding="ascii") as file:
                    file.write("1")
        lines = ["link set lo up"]
        for name in sorted({card.bridge for host in self.hosts.values() for card in host.cards}):
            kind = "type bridge forward_delay 0 mcast_snooping 0"
            lines += [f"link add {name} address {plan.VOID_MAC} mtu {self.mtu} {kind}", f"link set {name} up"]
        ip(lines)

    def plug_in(self, hosts):
        """Lays the cables of hosts whose first process lives in a fresh network namespace."""
        lines = []
        for host in hosts:
            for card in host.cards:
                far = f"name {card.device} address {card.mac} mtu {self.mtu} netns {host.init_pid}"
                lines.append(f"link add name {card.port} mtu {self.mtu} type veth peer {far}")
                lines.append(f"link set {card.port} master {card.bridge} up")
        ip(lines)
        for host in hosts:
            if host.name in self.isolated:
                self._ports(host, "disabled")

    def unplug(self, host):
        """No packet leaves or reaches the host from the moment this returns."""
        ip([f"link set {card.port} down" for card in host.cards])

    def remove_cables(self, host):
        """Before power-on: the old namespace, and with it the cable, is destroyed by the kernel in its own time."""
        left = {name for _, name in socket.if_nameindex()}
        for card in host.cards:
            if card.port in left:
                # It may go by itself between the look and this.
                subprocess.run(["ip", "link", "del", card.port], capture_output=True)

    def partition(self, first, second=None):
        if second is None:
            # The port's state, not the cable: the host itself must not see its carrier go.
            self._ports(first, "disabled")
            self.isolated.add(first.name)
            return
        self.apart.add(frozenset((first.name, second.name)))
        self._redirect(first, second)

    def heal(self, first, second=None):
        if second is None:
            self.isolated.discard(first.name)
            self._ports(first, "forwarding")
            for pair in [pair for pair in self.apart if first.name in pair]:
                self.heal(first, self.hosts[next(iter(pair - {first.name}))])
            return
        self.apart.discard(frozenset((first.name, second.name)))
        self._redirect(first, second)

    def _ports(self, host, state):
        if host.state != "off":
            for card in host.cards:
                _bridge(["link", "set", "dev", card.port, "state", {"disabled": "0", "forwarding": "3"}[state]])

    def _redirect(self, first, second):
        """Writes the two hosts' entries for each other anew. A host that is off gets them when it boots."""
        for host, other in ((first, second), (second, first)):
            if host.state == "off":
                continue
            namespace = os.open(f"/proc/{host.init_pid}/ns/net", os.O_RDONLY)
            try:
                ip(self._entries(host, {other.name}), namespace)
            finally:
                os.close(namespace)

    def _entries(self, host, names):
        lines = []
        for own, peer, card in plan.neighbours(host, self.hosts):
            if peer.name in names:
                mac = plan.VOID_MAC if frozenset((host.name, peer.name)) in self.apart else card.mac
                addresses = [card.address, card.address6] if _has_ipv6() else [card.address]
                lines += [f"neigh replace {it} lladdr {mac} dev {own.device} nud permanent" for it in addresses]
        return lines

    def configure(self, host):
        """Runs inside the host, in its network namespace, once its cables are plugged in."""
        lines = ["link set lo up"]
        for card in host.cards:
            lines.append(f"link set {card.device} addrgenmode none")
            lines.append(f"addr add {card.address}/24 dev {card.device}")
            if _has_ipv6():
                lines.append(f"addr add {card.address6}/64 dev {card.device} nodad")
            lines.append(f"link set {card.device} up")
        ip(lines + self._entries(host, set(self.hosts)))

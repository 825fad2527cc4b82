"""Limits the number of connections, in total and per client address.

A connection takes a slot when it is accepted. A new client always gets a slot if another connection
can be closed for it. The server closes the connection that has waited longest for its
client, among those of the address with the most connections: crowds of silent, slow or idle clients
displace each other.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from time import monotonic

from agent.web.limits import ClientLimits

LOOPBACK = "loopback"
SUBSCRIBER_PREFIX = 64  # the smallest IPv6 network that a provider gives a customer (RFC 6177)


@lru_cache(maxsize=1024)
def find_network(address: str) -> str:
    """Return what counts as one client: an IPv4 address, or a /64 network of IPv6.

    >>> find_network("192.0.2.7"), find_network("2001:db8:1:2::7"), find_network("::ffff:192.0.2.7")
    ('192.0.2.7', '2001:db8:1:2::/64', '192.0.2.7')
    """
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is None:
            return str(ipaddress.ip_network((parsed, SUBSCRIBER_PREFIX), strict=False))
        parsed = parsed.ipv4_mapped
    return str(parsed)


@lru_cache(maxsize=1024)
def find_group(address: str) -> str:
    """Return what shares one limit of connections: a network, or all of loopback.

    >>> find_group("127.0.0.2"), find_group("::1"), find_group("192.0.2.7")
    ('loopback', 'loopback', '192.0.2.7')
    """
    parsed = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(parsed, "ipv4_mapped", None)
    return LOOPBACK if (mapped or parsed).is_loopback else find_network(address)


def do_nothing() -> None:
    """Replace `close` of a slot that is released."""


@dataclass(eq=False)
class Slot:
    """The slot of one connection.

    close: closes the connection at once; the current owner of the connection sets it. is_busy: the
    client waits for the agent, so the connection is not closed for another one. since: when it last
    completed a request, or was accepted, by the monotonic clock.
    """

    address: str
    close: Callable[[], object]
    is_busy: bool = False
    since: float = field(default_factory=monotonic)

    def rest(self) -> None:
        """Note that a request is completed: the connection waits for its client again."""
        self.is_busy, self.since = False, monotonic()


class ConnectionSlots:
    """The slots in use. For the event loop's thread only."""

    def __init__(self, limits: ClientLimits) -> None:
        self._limits = limits
        self._groups: dict[Slot, str] = {}
        self._counts: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._groups)

    def take(self, address: str, close: Callable[[], object]) -> Slot | None:
        """Return a slot for a new connection; None if no other connection can be closed."""
        group = find_group(address)
        limits = self._limits
        most = limits.connections_per_address
        if group == LOOPBACK:
            most = limits.connections_from_loopback
        if self._counts[group] >= most and not self._evict(group):
            return None
        if len(self._groups) >= limits.connections and not self._evict():
            return None
        slot = Slot(address, close)
        self._groups[slot] = group
        self._counts[group] += 1
        return slot

    def release(self, slot: Slot) -> None:
        """Free a slot, if it is in use.

        The slot drops its reference to the connection: in a reference cycle, TLS buffers would stay
        until the next garbage collection.
        """
        slot.close = do_nothing
        group = self._groups.pop(slot, None)
        if group is not None:
            self._counts[group] -= 1
            if not self._counts[group]:
                del self._counts[group]

    def close_all(self) -> None:
        """Close every connection."""
        for slot in list(self._groups):
            slot.close()

    def _evict(self, group: str | None = None) -> bool:
        """Close one connection, of this group or of any; return whether there was one."""
        waiting = [
            slot
            for slot, name in self._groups.items()
            if not slot.is_busy and group in (None, name)
        ]
        if not waiting:
            return False
        victim = min(waiting, key=lambda slot: (-self._counts[self._groups[slot]], slot.since))
        close = victim.close
        self.release(victim)
        close()
        return True

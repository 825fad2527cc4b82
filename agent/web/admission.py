"""Which connections are let in: counted from accept on, in total and per address.

A new client always gets a place if another connection can be closed for it. The connection that is
closed is the oldest that waits for its client, of the address with the most connections: crowds of
silent, slow or idle clients push out each other.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from time import monotonic

from agent.web.limits import Limits

LOOPBACK = "loopback"
SUBSCRIBER_PREFIX = 64  # the least of IPv6 that a provider gives one customer (RFC 6177)


@lru_cache(maxsize=1024)
def network(address: str) -> str:
    """Return what counts as one client: an IPv4 address, or a /64 of IPv6.

    >>> network("192.0.2.7"), network("2001:db8:1:2::7"), network("::ffff:192.0.2.7")
    ('192.0.2.7', '2001:db8:1:2::/64', '192.0.2.7')
    """
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is None:
            return str(ipaddress.ip_network((parsed, SUBSCRIBER_PREFIX), strict=False))
        parsed = parsed.ipv4_mapped
    return str(parsed)


@lru_cache(maxsize=1024)
def group(address: str) -> str:
    """Return what shares one limit of connections: a network, or all of loopback.

    >>> group("127.0.0.2"), group("::1"), group("192.0.2.7")
    ('loopback', 'loopback', '192.0.2.7')
    """
    parsed = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(parsed, "ipv4_mapped", None)
    return LOOPBACK if (mapped or parsed).is_loopback else network(address)


@dataclass(eq=False)
class Place:
    """The place of one connection.

    close: closes the connection at once; whoever handles the connection now sets it. is_busy: the
    agent works for it and the client waits, so it is not closed for another one. since: when it
    last completed a request, or was accepted, by the monotonic clock.
    """

    address: str
    close: Callable[[], object]
    is_busy: bool = False
    since: float = field(default_factory=monotonic)

    @property
    def group(self) -> str:
        """What shares the limit of this connection's address."""
        return group(self.address)

    def rest(self) -> None:
        """Note that a request was completed: the connection waits for its client again."""
        self.is_busy, self.since = False, monotonic()


def do_nothing() -> None:
    """Take the place of `close` when a connection is closed."""


class Admission:
    """The places that are taken. For the event loop's thread only."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._places: dict[Place, str] = {}
        self._counts: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._places)

    def admit(self, address: str, close: Callable[[], object]) -> Place | None:
        """Return a place for a new connection; None if no other connection can be closed for it."""
        place = Place(address, close)
        name = place.group
        if self._counts[name] >= self._most(name) and not self._evict(name):
            return None
        if len(self._places) >= self._limits.connections and not self._evict():
            return None
        self._places[place] = name
        self._counts[name] += 1
        return place

    def release(self, place: Place) -> None:
        """Free a place, unless that happened before.

        The place no longer refers to the connection: in a cycle, TLS's buffers would stay until a
        garbage collection.
        """
        place.close = do_nothing
        name = self._places.pop(place, None)
        if name is not None:
            self._counts[name] -= 1
            if not self._counts[name]:
                del self._counts[name]

    def close(self) -> None:
        """Close every connection."""
        for place in list(self._places):
            place.close()

    def _most(self, name: str) -> int:
        limits = self._limits
        return (
            limits.connections_from_loopback if name == LOOPBACK else limits.connections_per_address
        )

    def _evict(self, name: str | None = None) -> bool:
        """Close one connection, of this group or of any; return whether there was one."""
        waiting = [
            place
            for place, own in self._places.items()
            if not place.is_busy and name in (None, own)
        ]
        if not waiting:
            return False
        victim = min(waiting, key=lambda place: (-self._counts[self._places[place]], place.since))
        close = victim.close
        self.release(victim)
        close()
        return True

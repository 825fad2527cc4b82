"""Connection slots: in total, per address, and which connection is closed for a new one."""

from __future__ import annotations

import asyncio
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from agent.errors import ConfigurationError
from agent.web.limits import RESERVED_DESCRIPTORS, ClientLimits, fit_limits
from agent.web.messages import HttpRequest, HttpResponse
from agent.web.slots import ConnectionSlots, Slot
from tests.unit.agent.web.process import ROOT, UNIT_DESCRIPTORS
from tests.unit.agent.web.server import Server, create_application, serve_application, wait_for

LIMITS = ClientLimits(connections=6, connections_per_address=3, connections_from_loopback=4)


class Crowd:
    """Connections without sockets. closed: the names of closed connections, in order."""

    def __init__(self, limits: ClientLimits = LIMITS) -> None:
        self.admission = ConnectionSlots(limits)
        self.closed: list[str] = []
        self._count = 0

    def enter(self, name: str, address: str) -> Slot | None:
        self._count += 1
        place = self.admission.take(address, lambda: self.closed.append(name))
        if place is not None:
            place.since = float(self._count)
        return place


@pytest.mark.parametrize(
    "addresses",
    [
        ["192.0.2.1"] * 4,
        ["2001:db8:1:2::1", "2001:db8:1:2:3::", "2001:db8:1:2:ffff::9", "2001:db8:1:2::4"],
        ["192.0.2.1", "::ffff:192.0.2.1", "192.0.2.1", "::ffff:192.0.2.1"],
        ["fe80::1%eth0", "fe80::2%eth0", "fe80::3%eth0", "fe80::4%eth0"],
    ],
    ids=["IPv4", "one /64", "IPv4 over IPv6", "link-local"],
)
def test_network_has_a_connection_limit(addresses: list[str]) -> None:
    crowd = Crowd()
    for number, address in enumerate(addresses):
        assert crowd.enter(str(number), address)
    assert crowd.closed == ["0"]
    assert len(crowd.admission) == 3


def test_networks_have_separate_limits() -> None:
    crowd = Crowd()
    for number, address in enumerate(["2001:db8:1:2::1", "2001:db8:1:3::1"] * 3):
        assert crowd.enter(str(number), address)
    assert crowd.closed == []


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "127.8.8.8"])
def test_loopback_has_a_separate_limit(address: str) -> None:
    """Above the limit of an address, for proxies; below the total, against local users."""
    crowd = Crowd()
    for number in range(5):
        assert crowd.enter(str(number), address)
    assert crowd.closed == ["0"]
    assert crowd.enter("remote", "192.0.2.1")
    assert crowd.closed == ["0"]


def test_oldest_connection_of_the_largest_group_is_closed_at_the_total() -> None:
    crowd = Crowd()
    crowd.enter("scraper", "192.0.2.1")
    for name in ("a", "b", "c"):
        crowd.enter(name, "192.0.2.2")
    crowd.enter("d", "192.0.2.3")
    crowd.enter("e", "192.0.2.3")
    assert crowd.enter("new", "192.0.2.4")
    assert crowd.closed == ["a"]


def test_busy_connection_is_not_closed() -> None:
    crowd = Crowd()
    places = [crowd.enter(str(number), "192.0.2.1") for number in range(3)]
    for place in places:
        assert place
        place.is_busy = True
    assert crowd.enter("new", "192.0.2.1") is None
    assert places[1]
    places[1].rest()
    assert crowd.enter("new", "192.0.2.1")
    assert crowd.closed == ["1"]


def test_released_slot_is_free_again() -> None:
    crowd = Crowd()
    for _ in range(10):
        place = crowd.enter("x", "192.0.2.1")
        assert place
        crowd.admission.release(place)
        crowd.admission.release(place)
    assert (len(crowd.admission), crowd.closed) == (0, [])


@pytest.mark.parametrize(("descriptors", "connections"), [(1024, 128), (200, 72), (144, 16)])
def test_limits_reserve_descriptors_for_readings(descriptors: int, connections: int) -> None:
    limits = fit_limits(ClientLimits(), descriptors)
    assert limits.connections == connections
    assert limits.connections <= descriptors - RESERVED_DESCRIPTORS
    assert limits.connections_from_loopback < limits.connections
    assert limits.connections_per_address <= limits.connections // 2


def test_systemd_unit_allows_descriptors_for_every_connection() -> None:
    unit = (ROOT / "playbooks/templates/deeprig-agent.service.j2").read_text()
    match = re.search(r"^LimitNOFILE=(\d+)$", unit, re.MULTILINE)
    assert match
    assert int(match[1]) == UNIT_DESCRIPTORS
    assert fit_limits(ClientLimits(), UNIT_DESCRIPTORS) == ClientLimits()


def test_too_few_descriptors_are_a_configuration_error() -> None:
    with pytest.raises(
        ConfigurationError, match=r"^the limit of open files is 64: the agent needs"
    ):
        fit_limits(ClientLimits(), 64)


@contextmanager
def serve_stalled() -> Iterator[tuple[Server, threading.Event, Counter[str]]]:
    """A server with five places; requests of /busy take until the event is set, and are counted."""
    finish = threading.Event()
    calls: Counter[str] = Counter()

    async def work() -> HttpResponse:
        calls["/busy"] += 1
        while not finish.is_set():
            await asyncio.sleep(0.005)
        return HttpResponse(b"done")

    def handler(request: HttpRequest) -> HttpResponse | asyncio.Future[HttpResponse]:
        return asyncio.ensure_future(work()) if request.path == "/busy" else HttpResponse(b"x")

    limits = ClientLimits(connections=5, connections_from_loopback=5)
    with serve_application(create_application(handler), limits) as server:
        try:
            yield server, finish, calls
        finally:
            finish.set()


def test_an_idle_connection_is_closed_for_a_new_client() -> None:
    with serve_stalled() as (server, _, _):
        clients = [server.connect() for _ in range(5)]
        assert [client.ask().status for client in clients] == [200] * 5
        assert server.ask().status == 200
        assert clients[0].is_closed()
        assert clients[4].ask().status == 200


def test_waiting_clients_are_answered_when_all_slots_are_busy() -> None:
    """With every place in use, the next client is refused until one is free."""
    with serve_stalled() as (server, finish, calls):
        clients = [server.connect() for _ in range(5)]
        for client in clients:
            client.send(b"GET /busy HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wait_for(lambda: calls["/busy"] == 5, "the server works for all five")
        refused = server.connect()
        answer = refused.answer()
        assert (answer.status, answer.headers["connection"]) == (503, "close")
        assert answer.body == b"503 Service Unavailable\n"
        assert refused.is_closed()
        finish.set()
        assert [client.answer().body for client in clients] == [b"done"] * 5
        assert server.ask().status == 200

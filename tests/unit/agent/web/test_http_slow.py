"""Clients that send or read slowly, or not at all: other clients are not affected."""

from __future__ import annotations

import select
import time
from collections import Counter

import pytest

from agent.web.limits import ClientLimits
from agent.web.messages import HttpRequest, HttpResponse
from tests.unit.agent.web.server import (
    Client,
    create_application,
    resident_bytes,
    serve_application,
    wait_for,
)

GET = b"GET /a HTTP/1.1\r\nHost: rig\r\n\r\n"
FAST = ClientLimits(
    request_seconds=0.4,
    idle_seconds=30,
    linger_seconds=0.1,
    connections=256,
    connections_from_loopback=200,
)
LARGE = bytes(1 << 20)


CALLS: Counter[str] = Counter()


@create_application
def handler(request: HttpRequest) -> HttpResponse:
    CALLS[request.path] += 1
    return HttpResponse(LARGE if request.path == "/large" else b"x")


@pytest.fixture(autouse=True)
def calls() -> Counter[str]:
    """Return how often the server has called the application, by path."""
    CALLS.clear()
    return CALLS


def test_hundred_slow_senders_do_not_delay_others() -> None:
    """Each of the hundred is refused and closed at its deadline."""
    with serve_application(handler, FAST) as server:
        began = time.monotonic()
        slow = [server.connect() for _ in range(100)]
        waits = []
        for byte in GET[:-1] * 10:
            for client in slow:
                try:
                    client.send(bytes([byte]))
                except ConnectionError:
                    continue
            asked = time.monotonic()
            assert server.ask().status == 200
            waits.append(time.monotonic() - asked)
            if time.monotonic() - began > 2 * FAST.request_seconds:
                break
            time.sleep(0.02)
        assert sorted(waits)[len(waits) // 2] < 0.1
        statuses = Counter(read_end(client) for client in slow)
        assert set(statuses) <= {408, None}, "None: what it still sent reset the connection"
        assert statuses[408] > 50
        assert time.monotonic() - began < FAST.request_seconds + 5


def read_end(client: Client) -> int | None:
    try:
        status = client.answer().status
        assert client.is_closed()
    except ConnectionResetError:
        return None
    return status


def test_silent_client_is_closed_without_an_answer() -> None:
    with serve_application(handler, FAST) as server:
        began = time.monotonic()
        assert server.connect().is_closed()
        assert FAST.request_seconds <= time.monotonic() - began < FAST.request_seconds + 3


def test_idle_deadline_is_longer_than_the_request_deadline() -> None:
    limits = ClientLimits(
        request_seconds=0.1,
        idle_seconds=0.6,
    )
    with serve_application(handler, limits) as server:
        client = server.connect()
        assert client.ask().status == 200
        time.sleep(0.3)
        assert client.ask().status == 200, "still there after three times request_seconds"
        began = time.monotonic()
        assert client.is_closed(), "and no 408: nothing was asked"
        assert time.monotonic() - began > 0.3


@pytest.mark.parametrize("begun", [GET[:7], GET + GET[:7], GET[:-2]])
def test_incomplete_request_is_408(begun: bytes) -> None:
    """Also if it began in the packet in which another request ended."""
    with serve_application(handler, FAST) as server:
        client = server.connect()
        client.send(begun)
        statuses = [client.answer().status for _ in range(begun.count(b"GET"))]
        assert statuses[-1] == 408
        assert client.is_closed()


def test_slow_reader_gets_every_answer_with_two_buffered(calls: Counter[str]) -> None:
    """Two: the answer that the client is reading, and the next one."""
    with serve_application(handler, ClientLimits()) as server:
        client = server.connect(receive_buffer=4096)
        number = 40
        client.send(GET.replace(b"/a", b"/large") * number)
        wait_for(lambda: calls["/large"], "the client lags behind")
        for _ in range(20):
            assert server.ask().status == 200
        assert calls["/large"] <= 2
        assert all(len(client.answer().body) == len(LARGE) for _ in range(number))


def test_client_that_does_not_read_is_closed() -> None:
    with serve_application(handler, FAST) as server:
        client = server.connect(receive_buffer=4096)
        client.send(GET.replace(b"/a", b"/large") * 3)
        wait_for(lambda: server.count_connections() == 1, "it is here")
        wait_for(lambda: server.count_connections() == 0, "it is closed")
        assert len(client.read_rest()) < 3 * len(LARGE), "what the kernel held, and no more"


def test_pipelined_requests_are_not_buffered_without_limit(calls: Counter[str]) -> None:
    """The server stops reading from a client that reads nothing."""
    small = b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
    with serve_application(handler, ClientLimits()) as server:
        client = server.connect(receive_buffer=4096)
        client.socket.settimeout(0.3)
        asked, before = small * 400_000, resident_bytes()
        with pytest.raises(TimeoutError):
            client.send(asked)
        assert resident_bytes() - before < 8 << 20
        assert calls["/"] < 2_000


def test_refused_connection_lingers_before_it_is_closed() -> None:
    """Closed at once, the client would get a reset, possibly before the answer."""
    with serve_application(handler, ClientLimits(linger_seconds=30)) as server:
        client = server.connect()
        client.send(b"nonsense\r\n\r\n")
        wait_for(lambda: select.select([client.socket], [], [], 0)[0], "refused")
        for _ in range(20):
            client.send(b"more nonsense\r\n")
            time.sleep(0.002)
        assert client.answer().status == 400
        client.close()
        wait_for(lambda: server.count_connections() == 0, "closed with the client")


def test_client_that_sends_after_a_refusal_is_closed() -> None:
    with serve_application(handler, FAST) as server:
        client = server.connect()
        client.send(b"nonsense\r\n\r\n")
        assert client.answer().status == 400
        wait_for(lambda: server.count_connections() == 0, "closed, though the client is not")
        with pytest.raises(ConnectionError):
            client.send(bytes(16 << 20))

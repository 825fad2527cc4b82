"""Deadlines of connections that make no progress, over TLS as well as without."""

from __future__ import annotations

import select
import socket
import ssl
import time
from collections import Counter
from pathlib import Path

import pytest

from agent.web.limits import ClientLimits
from agent.web.messages import HttpRequest, HttpResponse
from agent.web.web_config import WebConfigFile
from tests.unit.agent.web.certificates import Authority
from tests.unit.agent.web.server import (
    PATIENCE_SECONDS,
    create_application,
    serve_application,
    wait_for,
)

FAST = ClientLimits(
    handshake_seconds=0.3,
    request_seconds=0.3,
    idle_seconds=30,
    linger_seconds=0.1,
)
LARGE = bytes(4 << 20)
MEDIUM = bytes(100 << 10)
GET = b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n"


CALLS: Counter[str] = Counter()


@create_application
def handler(request: HttpRequest) -> HttpResponse:
    CALLS[request.path] += 1
    return HttpResponse({"/large": LARGE, "/medium": MEDIUM}.get(request.path, b"x"))


class Site:
    """A certificate, the server's side of TLS and a client's."""

    def __init__(self, folder: Path) -> None:
        authority = Authority.create(folder, "authority")
        authority.sign("rig", folder / "server.pem", folder / "server.key")
        file = folder / "web.yml"
        file.write_text("tls_server_config: {cert_file: server.pem, key_file: server.key}\n")
        context = WebConfigFile(file).ssl
        assert context
        self.server: ssl.SSLContext = context
        self.client = ssl.create_default_context(cafile=str(authority.file))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    CALLS.clear()
    return Site(tmp_path)


@pytest.mark.parametrize("data", [b"", b"\x16\x03\x01\x02\x00\x01"], ids=["silent", "half a hello"])
def test_incomplete_handshake_is_closed(site: Site, data: bytes) -> None:
    with serve_application(handler, FAST, site.server) as server:
        began = time.monotonic()
        client = server.connect()
        client.send(data)
        wait_for(lambda: server.count_connections() == 1, "the connection is open")
        assert client.is_closed()
        assert time.monotonic() - began >= FAST.handshake_seconds
        wait_for(lambda: server.count_connections() == 0, "it is closed")


def test_silent_client_is_closed_after_the_handshake(site: Site) -> None:
    with serve_application(handler, FAST, site.server) as server:
        client = server.connect(tls=site.client)
        assert client.is_closed()
        wait_for(lambda: server.count_connections() == 0, "it is closed")


def test_plain_http_on_the_tls_port_frees_its_slot(site: Site) -> None:
    with serve_application(handler, FAST, site.server) as server:
        for _ in range(5):
            client = server.connect()
            client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b"HTTP" not in client.read_rest()
        wait_for(lambda: server.count_connections() == 0, "all are closed")


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("version", [b"HTTP/1.1", b"HTTP/1.0"], ids=["kept", "closing"])
def test_client_that_does_not_read_is_closed(site: Site, tls: bool, version: bytes) -> None:
    """Also if the server closes after the answer, or pipelined requests wait."""
    with serve_application(handler, FAST, site.server if tls else None) as server:
        client = server.connect(receive_buffer=4096, tls=site.client if tls else None)
        client.send(GET.replace(b"HTTP/1.1", version) * 3)
        wait_for(lambda: server.count_connections() == 1, "the connection is open")
        wait_for(lambda: server.count_connections() == 0, "it is closed")


@pytest.mark.parametrize(
    ("begin", "drip"),
    [
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999\r\n\r\n", b"x"),
        (b"POST / HTTP/1.1\r\nHost: rig\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ", b"x"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n", b"A: b\r\n"),
        (b"GET /", b"x"),
        (b"", b"\r\n"),
    ],
    ids=["body", "chunks", "header", "headers", "target", "empty lines"],
)
def test_slow_request_has_one_deadline(begin: bytes, drip: bytes) -> None:
    """Bytes that keep arriving do not extend it."""
    with serve_application(handler, FAST) as server:
        client = server.connect()
        began = time.monotonic()
        client.send(begin)
        while not select.select([client.socket], [], [], 0.02)[0]:
            client.send(drip)
            assert time.monotonic() - began < PATIENCE_SECONDS, "the server waits for the rest"
        assert time.monotonic() - began >= FAST.request_seconds
        wait_for(lambda: server.count_connections() == 0, "it is closed")


def test_slow_tls_reader_gets_every_answer(site: Site) -> None:
    patient = ClientLimits()
    with serve_application(handler, patient, site.server) as server:
        client = server.connect(receive_buffer=4096, tls=site.client)
        client.send(GET * 3 + GET.replace(b"/large", b"/small"))
        assert [len(client.answer().body) for _ in range(4)] == [len(LARGE)] * 3 + [1]


def test_few_tls_answers_are_buffered(site: Site) -> None:
    """asyncio's default is 512 KiB per connection, besides the kernel's buffers."""
    with serve_application(handler, ClientLimits(), site.server) as server:
        client = server.connect(receive_buffer=4096, tls=site.client)
        client.send(GET.replace(b"/large", b"/medium") * 100)
        wait_for(lambda: CALLS["/medium"], "the client lags behind")
        assert server.connect(tls=site.client).ask().status == 200
        assert CALLS["/medium"] <= 3, "one in the buffers, one being written, one waiting"


def test_buffered_tls_answers_have_a_deadline(site: Site) -> None:
    """Otherwise a client that reads nothing would keep them until the idle deadline."""
    with serve_application(handler, FAST, site.server) as server:
        client = server.connect(receive_buffer=4096, tls=site.client)
        client.send(GET.replace(b"/large", b"/medium") * 100)
        wait_for(lambda: CALLS["/medium"], "the client lags behind")
        wait_for(lambda: server.count_connections() == 0, "it is closed")


def test_client_without_close_notify_is_closed(site: Site) -> None:
    """Without close_notify, asyncio waits for half a minute or longer."""
    with serve_application(handler, FAST, site.server) as server:
        channel = socket.create_connection(server.address, timeout=PATIENCE_SECONDS)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = site.client.wrap_bio(incoming, outgoing, server_hostname="localhost")
        with channel:
            while True:
                try:
                    client.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    channel.send(outgoing.read())
                    incoming.write(channel.recv(65536))
            client.write(b"GET / HTTP/1.0\r\n\r\n")
            channel.send(outgoing.read())
            wait_for(lambda: CALLS["/"], "the connection is open")
            wait_for(lambda: server.count_connections() == 0, "it is closed")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
@pytest.mark.parametrize(
    ("version", "is_served"),
    [
        (ssl.TLSVersion.TLSv1, False),
        (ssl.TLSVersion.TLSv1_1, False),
        (ssl.TLSVersion.TLSv1_2, True),
        (ssl.TLSVersion.TLSv1_3, True),
    ],
)
def test_tls_below_1_2_is_refused(site: Site, version: ssl.TLSVersion, is_served: bool) -> None:
    site.client.minimum_version = ssl.TLSVersion.TLSv1
    site.client.maximum_version = version
    site.client.set_ciphers("ALL:@SECLEVEL=0")
    with serve_application(handler, ClientLimits(), site.server) as server:
        if is_served:
            assert server.connect(tls=site.client).ask().status == 200
        else:
            with pytest.raises(ssl.SSLError):
                server.connect(tls=site.client)
            wait_for(lambda: server.count_connections() == 0, "it is closed")

"""Many clients that only hold connections: memory, descriptors and scrapes are unaffected."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from pathlib import Path

import pytest

from tests.unit.agent.web.process import UNIT_DESCRIPTORS, AgentProcess, running
from tests.unit.agent.web.server import PATIENCE_SECONDS, wait_for

MIB = 1 << 20
SILENT_GROWTH_MOST = 24 * MIB  # 980 connections took 303 MiB before they were limited
SCRAPE_SECONDS_MOST = 2.0  # of a scrape timeout of 10 s
HANDSHAKE_GROWTH_MOST = 96 * MIB  # a third of a MiB for each TLS connection that may be open


def hold(agent: AgentProcess, number: int, data: bytes = b"") -> list[socket.socket]:
    """Open TCP connections that send these bytes, if any, and nothing more."""
    held = []
    for _ in range(number):
        channel = socket.create_connection(agent.address, timeout=10)
        held.append(channel)
        if data:
            channel.send(data)
    return held


def release(held: list[socket.socket]) -> None:
    for channel in held:
        channel.close()


@pytest.mark.parametrize(
    ("data", "most"),
    [(b"", SILENT_GROWTH_MOST), (b"\x16\x03\x01\x02\x00\x01", HANDSHAKE_GROWTH_MOST)],
    ids=["silent", "half a ClientHello"],
)
def test_980_connections_to_the_tls_port_take_little_memory(
    tmp_path: Path, data: bytes, most: int
) -> None:
    with running(tmp_path, tls=True) as agent:
        before = agent.resident_bytes()
        held = hold(agent, 980, data)
        try:
            assert agent.connect().ask("/metrics").status == 200
            assert agent.resident_bytes() - before < most
        finally:
            release(held)


def test_1250_connections_leave_descriptors_for_readings(tmp_path: Path) -> None:
    with running(tmp_path) as agent:
        before = json.loads(agent.connect().ask("/api/v1/rig").body)
        held = hold(agent, 1250)
        try:
            after = json.loads(agent.connect().ask("/api/v1/rig").body)
            assert agent.descriptors() < UNIT_DESCRIPTORS - 100
            assert {verdict["check"] for verdict in after["verdicts"]} == {
                verdict["check"] for verdict in before["verdicts"]
            }
        finally:
            release(held)


@pytest.mark.parametrize("data", [b"", b"GET /metrics HT"], ids=["silent", "half a request"])
def test_300_half_open_connections_do_not_stop_scrapes(tmp_path: Path, data: bytes) -> None:
    with running(tmp_path) as agent:
        held = hold(agent, 300, data)
        try:
            for _ in range(3):
                assert scrape_seconds(agent) < SCRAPE_SECONDS_MOST
        finally:
            release(held)


def test_flooding_clients_do_not_stop_scrapes(tmp_path: Path) -> None:
    """The clients send pipelined requests without end, and read every answer."""
    requests = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n" * 100
    ended = threading.Event()
    answered: list[int] = []

    def flood() -> None:
        with socket.create_connection(agent.address, timeout=PATIENCE_SECONDS) as channel:
            reader = threading.Thread(target=read, args=(channel,))
            reader.start()
            with contextlib.suppress(OSError):
                while not ended.is_set():
                    channel.sendall(requests)
                channel.shutdown(socket.SHUT_RDWR)
            reader.join()

    def read(channel: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := channel.recv(1 << 16):
                answered.append(data.count(b"HTTP/1.1 200"))

    with running(tmp_path) as agent:
        before = agent.resident_bytes()
        threads = [threading.Thread(target=flood) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            wait_for(lambda: sum(answered) > 100, "the flood is answered")
            for _ in range(5):
                assert scrape_seconds(agent) < SCRAPE_SECONDS_MOST
            assert agent.resident_bytes() - before < SILENT_GROWTH_MOST
        finally:
            ended.set()
            for thread in threads:
                thread.join()


def scrape_seconds(agent: AgentProcess) -> float:
    """How long a scrape on a new connection takes."""
    began = time.monotonic()
    assert agent.connect().ask("/metrics").status == 200
    return time.monotonic() - began


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_256_idle_keep_alive_connections_do_not_stop_scrapes(tmp_path: Path, tls: bool) -> None:
    with running(tmp_path, tls=tls) as agent:
        before = agent.resident_bytes()
        for _ in range(256):
            assert agent.connect().ask("/metrics").status == 200
        for _ in range(3):
            assert agent.connect().ask("/metrics").status == 200
        assert agent.resident_bytes() - before < HANDSHAKE_GROWTH_MOST


def test_300_clients_that_read_nothing_do_not_stop_scrapes(tmp_path: Path) -> None:
    request = b"GET /page/openapi.yaml HTTP/1.1\r\nHost: localhost\r\n\r\n" * 60
    with running(tmp_path) as agent:
        held = []
        try:
            for _ in range(300):
                channel = socket.socket()
                channel.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                channel.settimeout(10)
                channel.connect(agent.address)
                channel.send(request)
                held.append(channel)
            assert agent.connect().ask("/metrics").status == 200
        finally:
            release(held)

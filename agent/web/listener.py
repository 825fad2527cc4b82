"""Accepts connections: each is counted before a byte of it is read, and before TLS begins.

asyncio's own servers count nothing, and set up TLS (a third of a MiB) for every connection. Here a
TLS handshake begins when the client's first bytes are here; a silent client costs one descriptor.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from time import monotonic

from agent.web.admission import Admission, Place
from agent.web.limits import Limits

BACKLOG = 512
#: Errors of accept(2) that concern one connection; every other one concerns the whole agent.
GONE = (BlockingIOError, InterruptedError, ConnectionAbortedError)
REFUSAL = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Content-Length: 24\r\nConnection: close\r\n\r\n503 Service Unavailable\n"
)

log = logging.getLogger("deeprig-agent")
Factory = Callable[[Place], asyncio.BaseProtocol]


def open_sockets(host: str, port: int) -> list[socket.socket]:
    """Listen on an address, on every address of `localhost`, or everywhere (empty). Raises OSError.

    Without a host, IPv4 and IPv6 have a socket each; a machine without one of them has the other.
    """
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    problem: OSError | None = None
    for family, _, _, _, address in dict.fromkeys(found):
        try:
            opened = socket.create_server(address, family=family, backlog=BACKLOG)
        except OSError as error:
            problem = error
            if host != "":
                break
        else:
            opened.setblocking(False)
            sockets.append(opened)
    if problem is not None and (host != "" or not sockets):
        for opened in sockets:
            opened.close()
        where = f"[{host}]:{port}" if ":" in host else f"{host or '*'}:{port}"
        raise OSError(problem.errno, f"{where}: {os.strerror(problem.errno or 0)}")
    return sockets


class Listener:
    """Listening sockets, and the way of a connection from accept to its protocol."""

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        factory: Factory,
        admission: Admission,
        limits: Limits,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._sockets = sockets
        self._factory = factory
        self._admission = admission
        self._limits = limits
        self._tls = tls
        self._opening: set[asyncio.Task[object]] = set()
        self._is_refused = False  # the kernel refused the last accept
        self._is_closed = False

    def start(self) -> None:
        """Accept connections from now on, in the running event loop."""
        loop = asyncio.get_running_loop()
        for listening in self._sockets:
            loop.add_reader(listening, self._accept, listening)

    def close(self) -> None:
        """Stop listening. Connections stay open."""
        self._is_closed = True
        loop = asyncio.get_running_loop()
        for listening in self._sockets:
            loop.remove_reader(listening)
            listening.close()

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(self._limits.accepts_at_once):
            try:
                channel, peer = listening.accept()
            except GONE:
                return
            except OSError as error:  # no descriptors, no memory
                self._pause(listening, error)
                return
            self._is_refused = False
            self._admit(channel, str(peer[0]))

    def _pause(self, listening: socket.socket, error: OSError) -> None:
        """Leave connections in the kernel's queue for a while: asking again at once is futile."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(listening)
        loop.call_later(self._limits.accept_retry_seconds, self._resume, listening)
        if not self._is_refused:
            log.error("cannot accept connections: %s", error.strerror or error)
        self._is_refused = True

    def _resume(self, listening: socket.socket) -> None:
        if not self._is_closed:
            asyncio.get_running_loop().add_reader(listening, self._accept, listening)

    def _admit(self, channel: socket.socket, address: str) -> None:
        channel.setblocking(False)
        place = self._admission.admit(address, channel.close)
        if place is None:
            if self._tls is None:
                with suppress(OSError):
                    channel.send(REFUSAL)
            channel.close()
        elif self._tls is None:
            self._open(channel, place, None)
        else:
            self._await_handshake(channel, place)

    def _await_handshake(self, channel: socket.socket, place: Place) -> None:
        """Begin TLS when the client does."""
        loop = asyncio.get_running_loop()
        deadline = monotonic() + self._limits.handshake_seconds

        def stop() -> None:
            loop.remove_reader(channel)
            timer.cancel()

        def drop() -> None:
            stop()
            channel.close()
            self._admission.release(place)

        def begin() -> None:
            stop()
            self._open(channel, place, max(0.1, deadline - monotonic()))

        timer = loop.call_later(self._limits.handshake_seconds, drop)
        place.close = drop
        loop.add_reader(channel, begin)

    def _open(self, channel: socket.socket, place: Place, handshake: float | None) -> None:
        """Hand the connection to a protocol. handshake: seconds that are left for TLS, if any."""
        opening = asyncio.ensure_future(
            asyncio.get_running_loop().connect_accepted_socket(
                partial(self._factory, place),
                channel,
                ssl=self._tls,
                ssl_handshake_timeout=handshake,
            )
        )
        self._opening.add(opening)

        def cancel() -> None:
            opening.cancel()

        def finish(done: asyncio.Task[object]) -> None:
            self._opening.discard(done)
            if done.cancelled() or done.exception() is not None:  # no protocol has the connection
                channel.close()
                self._admission.release(place)

        place.close = cancel
        opening.add_done_callback(finish)

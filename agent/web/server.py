"""Accepts connections and hands them to uvicorn.

Each connection is counted before a byte of it is read and before TLS begins. uvicorn's own server
counts nothing and sets up TLS (a third of a MiB) for every connection; here the handshake begins
when the client's first bytes are there, so a silent client costs one descriptor.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from functools import partial
from http import HTTPStatus

from uvicorn.config import Config
from uvicorn.server import ServerState

from agent.web.asgi import Application
from agent.web.connection import Connection
from agent.web.limits import ClientLimits
from agent.web.messages import error
from agent.web.slots import ConnectionSlots, Slot

BACKLOG = 512

log = logging.getLogger("deeprig-agent")


def open_sockets(host: str, port: int) -> list[socket.socket]:
    """Listen on an address, on every address of `localhost`, or everywhere (empty). Raises OSError.

    Without a host, IPv4 and IPv6 have a socket each; a machine without one of them has the other.
    """
    infos = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    problem: OSError | None = None
    for family, _, _, _, address in dict.fromkeys(infos):
        try:
            opened = socket.create_server(address, family=family, backlog=BACKLOG)
        except OSError as failure:
            problem = failure
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


class Server:
    """Serves an ASGI application on listening sockets, in the running event loop."""

    def __init__(
        self,
        application: Application,
        sockets: Sequence[socket.socket],
        limits: ClientLimits,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._sockets, self._limits, self._tls = sockets, limits, tls
        self._slots = ConnectionSlots(limits)
        self._state = ServerState()
        self._config = Config(
            application,
            interface="asgi3",
            http=Connection,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level=logging.CRITICAL,
            access_log=False,
            proxy_headers=False,  # anyone could name another address
            timeout_keep_alive=limits.idle_seconds,  # type: ignore[arg-type]
        )
        self._config.load()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_refused = False  # whether the kernel refused the last accept

    def start(self) -> None:
        """Accept connections from now on."""
        for listening in self._sockets:
            self._start_task(self._accept(listening))

    def close(self) -> None:
        """Close every connection and stop listening."""
        for connection in list(self._state.connections):
            connection.shutdown()
        self._slots.close_all()
        for task in self._tasks:
            task.cancel()
        for listening in self._sockets:
            listening.close()

    def _start_task(self, work: Coroutine[object, None, None]) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                channel, peer = await loop.sock_accept(listening)
            except ConnectionAbortedError:  # the client left while it waited
                continue
            except OSError as failure:  # no descriptors or memory: retrying at once is futile
                if not self._is_refused:
                    log.error("cannot accept connections: %s", failure.strerror or failure)  # noqa: TRY400
                self._is_refused = True
                await asyncio.sleep(self._limits.accept_retry_seconds)
                continue
            self._is_refused = False
            self._admit(channel, str(peer[0]))
            await asyncio.sleep(0)  # other work comes between the connections of a crowd

    def _admit(self, channel: socket.socket, address: str) -> None:
        # uvicorn writes head and body separately; otherwise the body waits for the client's ACK.
        channel.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        slot = self._slots.take(address, channel.close)
        if slot is None:
            if self._tls is None:
                with suppress(OSError):
                    channel.send(error(HTTPStatus.SERVICE_UNAVAILABLE).encode())
            channel.close()
            return

        def finish(done: asyncio.Task[None]) -> None:
            if done.cancelled() or done.exception() is not None:  # uvicorn did not take it
                channel.close()
                self._slots.release(slot)

        opening = self._start_task(self._open(channel, slot))
        slot.close = opening.cancel
        opening.add_done_callback(finish)

    async def _open(self, channel: socket.socket, slot: Slot) -> None:
        """Hand the connection to uvicorn, over TLS if it is configured."""
        if self._tls is None:
            await self._connect(channel, slot)
        else:
            handshake = self._shake_hands(channel, slot)
            await asyncio.wait_for(handshake, self._limits.handshake_seconds)

    async def _shake_hands(self, channel: socket.socket, slot: Slot) -> None:
        """Begin TLS when the client does."""
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        loop.add_reader(channel, readable.set)
        try:
            await readable.wait()
        finally:
            loop.remove_reader(channel)
        await self._connect(channel, slot)

    async def _connect(self, channel: socket.socket, slot: Slot) -> None:
        protocol = partial(Connection, self._config, self._state, self._limits, self._slots, slot)
        await asyncio.get_running_loop().connect_accepted_socket(protocol, channel, ssl=self._tls)

"""A server on a free port of 127.0.0.1, in a thread of its own, and clients that speak bytes."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from agent.web.http import Connections, Handler
from agent.web.limits import Limits
from agent.web.listener import Listener, open_sockets

PATIENCE_SECONDS = 10.0  # for what should happen at once, on a machine that has other things to do


@dataclass
class Answered:
    """An answer as it came. headers: names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Client:
    """One connection."""

    def __init__(self, channel: socket.socket) -> None:
        channel.settimeout(PATIENCE_SECONDS)
        self.socket = channel
        self._file = channel.makefile("rb")

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def answer(self, *, head: bool = False) -> Answered:
        """Read one answer, its body by its length."""
        first = self._file.readline()
        if not first:
            raise ConnectionError("closed without an answer")
        version, status, _ = first.decode().split(" ", 2)
        assert version == "HTTP/1.1", first
        headers = {}
        while (line := self._file.readline().decode().rstrip("\r\n")) != "":
            name, _, value = line.partition(": ")
            headers[name.lower()] = value
        body = b"" if head else self._file.read(int(headers["content-length"]))
        return Answered(int(status), headers, body)

    def ask(self, target: str = "/", method: str = "GET", **headers: str) -> Answered:
        """A request with these headers (accept_encoding is Accept-Encoding), and its answer."""
        named = "".join(f"{name.replace('_', '-')}: {text}\r\n" for name, text in headers.items())
        self.send(f"{method} {target} HTTP/1.1\r\nHost: localhost\r\n{named}\r\n".encode())
        return self.answer(head=method == "HEAD")

    def closed(self) -> bool:
        """Whether the server closes now, with nothing more to read. Waits for it."""
        try:
            return self._file.read(1) == b""
        except ConnectionResetError:
            return True

    def rest(self) -> bytes:
        """Everything until the server closes."""
        try:
            return self._file.read()
        except ConnectionResetError:
            return b""

    def close(self) -> None:
        self._file.close()
        self.socket.close()


class Server:
    """What listens. `loop` is its event loop, for what must happen in its thread."""

    def __init__(self, connections: Connections, loop: asyncio.AbstractEventLoop) -> None:
        self.connections = connections
        self.loop = loop
        self.address: tuple[str, int] = ("", 0)
        self._clients: list[Client] = []

    def connect(self, *, receive_buffer: int = 0, tls: ssl.SSLContext | None = None) -> Client:
        """A client; one with a small receive buffer shows the server soon that it does not read."""
        channel = socket.socket()
        channel.settimeout(PATIENCE_SECONDS)
        if receive_buffer:
            channel.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        channel.connect(self.address)
        client = Client(tls.wrap_socket(channel, server_hostname="localhost") if tls else channel)
        self._clients.append(client)
        return client

    def ask(self, target: str = "/", method: str = "GET", **headers: str) -> Answered:
        """One request on a connection of its own."""
        return self.connect().ask(target, method, **headers)

    def call(self, function: Callable[[], Any]) -> Any:
        """Run it in the loop's thread; what it returns."""

        async def called() -> Any:
            return function()

        return asyncio.run_coroutine_threadsafe(called(), self.loop).result(PATIENCE_SECONDS)

    def held(self) -> int:
        """Bytes of answers that the server keeps for clients that do not take them."""

        def count() -> int:
            transports = [one._transport for one in self.connections.open]
            return sum(each.get_write_buffer_size() for each in transports if each)

        bytes_: int = self.call(count)
        return bytes_

    def end(self) -> None:
        for client in self._clients:
            client.close()
        self.connections.close()


@contextmanager
def serving(
    handler: Handler, limits: Limits | None = None, tls: ssl.SSLContext | None = None
) -> Iterator[Server]:
    """Serve until the block ends."""
    loop = asyncio.new_event_loop()
    server = Server(Connections(handler, limits), loop)
    connections = server.connections
    sockets = open_sockets("127.0.0.1", 0)
    server.address = sockets[0].getsockname()
    listener = Listener(
        sockets, connections.connect, connections.admission, connections.limits, tls
    )
    loop.call_soon(listener.start)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield server
    finally:
        server.call(listener.close)
        server.call(server.end)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    """What the condition gives as soon as it is true; fails when it does not become so."""
    until = time.monotonic() + PATIENCE_SECONDS
    while not (found := condition()):
        assert time.monotonic() < until, f"never: {what}"
        time.sleep(0.005)
    return found

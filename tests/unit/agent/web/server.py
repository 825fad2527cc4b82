"""A server on a free port of 127.0.0.1, in a separate thread, and clients that send bytes."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.web import server as web
from agent.web.asgi import Handler, Receive, Scope, Send, answer
from agent.web.limits import ClientLimits

PATIENCE_SECONDS = 10.0  # for what should happen at once, on a machine that is busy
LISTEN = "0A"  # of a TCP socket (include/net/tcp_states.h)
SEND_BUFFER = 16 << 10  # what the kernel holds of an answer, about


@dataclass
class ClientAnswer:
    """An answer as the client received it. headers: names in lower case."""

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

    def answer(self, *, head: bool = False) -> ClientAnswer:
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
        return ClientAnswer(int(status), headers, body)

    def ask(self, target: str = "/", method: str = "GET", **headers: str) -> ClientAnswer:
        """Send a request with these headers (accept_encoding is Accept-Encoding); its answer."""
        named = "".join(f"{name.replace('_', '-')}: {text}\r\n" for name, text in headers.items())
        self.send(f"{method} {target} HTTP/1.1\r\nHost: localhost\r\n{named}\r\n".encode())
        return self.answer(head=method == "HEAD")

    def is_closed(self) -> bool:
        """Whether the server closes now, with nothing more to read. Waits for it."""
        try:
            return self._file.read(1) == b""
        except ConnectionResetError:
            return True

    def read_rest(self) -> bytes:
        """Everything until the server closes."""
        try:
            return self._file.read()
        except ConnectionResetError:
            return b""

    def close(self) -> None:
        self._file.close()
        self.socket.close()


class Server:
    """A server that listens. `loop` is its event loop, for what must happen in its thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, address: tuple[str, int]) -> None:
        self.loop = loop
        self.address = address
        self._clients: list[Client] = []

    def connect(self, *, receive_buffer: int = 0, tls: ssl.SSLContext | None = None) -> Client:
        """A client; with a small receive buffer the server soon sees that it does not read."""
        channel = socket.socket()
        channel.settimeout(PATIENCE_SECONDS)
        if receive_buffer:
            channel.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        channel.connect(self.address)
        client = Client(tls.wrap_socket(channel, server_hostname="localhost") if tls else channel)
        self._clients.append(client)
        return client

    def ask(self, target: str = "/", method: str = "GET", **headers: str) -> ClientAnswer:
        """One request on a new connection."""
        return self.connect().ask(target, method, **headers)

    def call(self, function: Callable[[], Any]) -> Any:
        """Run the function in the loop's thread and return what it returns."""

        async def call() -> Any:
            return function()

        return asyncio.run_coroutine_threadsafe(call(), self.loop).result(PATIENCE_SECONDS)

    def count_connections(self) -> int:
        """How many of the server's connections are open, as the kernel lists them (proc(5))."""
        return count_connections(self.address[1])

    def end(self) -> None:
        for client in self._clients:
            client.close()


def count_connections(port: int) -> int:
    """The sockets of a local port that belong to a process and do not listen."""
    count = 0
    for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        inode, state = fields[9], fields[3]
        is_local = int(fields[1].rpartition(":")[2], 16) == port
        count += is_local and state != LISTEN and inode != "0"
    return count


def resident_bytes() -> int:
    """The resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def create_application(handle: Handler) -> Any:
    """An ASGI application that answers by a function."""

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(handle, scope, receive, send)

    return application


@contextmanager
def serve_application(
    application: Any, limits: ClientLimits | None = None, tls: ssl.SSLContext | None = None
) -> Iterator[Server]:
    """Serve an ASGI application until the block ends; the kernel holds little of each answer."""
    loop = asyncio.new_event_loop()
    sockets = web.open_sockets("127.0.0.1", 0)
    for listening in sockets:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    server = Server(loop, sockets[0].getsockname())
    tested = web.Server(application, sockets, limits or ClientLimits(), tls)
    server.call(tested.start)
    try:
        yield server
    finally:
        server.call(tested.close)
        server.end()
        wait_for(lambda: server.count_connections() == 0, "all connections are closed")
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    """Return the condition's value as soon as it is true; fail if it does not become true."""
    until = time.monotonic() + PATIENCE_SECONDS
    while not (value := condition()):
        assert time.monotonic() < until, f"never: {what}"
        time.sleep(0.005)
    return value

"""HTTP/1.1 on asyncio: bytes in, requests out, bytes back. What is answered is agent/exporter.py's.

httptools (Node's parser) reads the requests. The server here exists for two things that those at
hand lack: an answer that costs no more than a copy, and deadlines for clients that send or read too
slowly, or nothing at all.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from http import HTTPStatus
from time import gmtime, monotonic, strftime, time

import httptools

REQUEST_SECONDS = 10.0  # for a whole request, from its first byte, or from the connection's start
IDLE_SECONDS = 300.0  # between requests; longer than any sensible scrape interval
REQUEST_MOST_BYTES = 16 << 10
UNSENT_MOST_BYTES = 1 << 20  # of answers that a client does not read
CONNECTIONS_MOST = 256
SWEEP_SECONDS = 1.0


@dataclass
class Request:
    """What was asked. headers: names in lower case."""

    method: str = ""
    target: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    keep_alive: bool = True

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]


@dataclass(frozen=True)
class Response:
    """What is answered."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


Answer = Response | Awaitable[Response]
Handler = Callable[[Request], Answer]


class Connections:
    """All connections of a server, and who of them has had time enough."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.open: set[Connection] = set()
        self._sweeping: asyncio.TimerHandle | None = None

    def make(self) -> Connection:
        """A protocol for asyncio's create_server."""
        return Connection(self)

    def add(self, connection: Connection) -> None:
        """From now on its deadlines are watched."""
        self.open.add(connection)
        if self._sweeping is None:
            self._sweep()

    def _sweep(self) -> None:
        """Close those whose time is up, every second while there are any."""
        now = monotonic()
        for connection in [one for one in self.open if one.deadline < now]:
            connection.time_out()
        loop = asyncio.get_running_loop()
        self._sweeping = loop.call_later(SWEEP_SECONDS, self._sweep) if self.open else None

    def close(self) -> None:
        """Close all."""
        for connection in list(self.open):
            connection.close()


class Connection(asyncio.Protocol):
    """One client. Requests are answered in their order, one at a time."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._request = Request()
        self._received = 0  # bytes of the request at hand
        self._waiting: deque[Request] = deque()
        self._working: asyncio.Task[None] | None = None
        self.deadline = monotonic() + REQUEST_SECONDS

    # asyncio's calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, unless there are too many."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if len(self._connections.open) >= CONNECTIONS_MOST:
            self._send(error(HTTPStatus.SERVICE_UNAVAILABLE), keep_alive=False)
            self.close()
            return
        self._connections.add(self)

    def connection_lost(self, reason: Exception | None) -> None:
        """Forget it."""
        self._connections.open.discard(self)
        self._transport = None
        if self._working is not None:
            self._working.cancel()

    def data_received(self, data: bytes) -> None:
        """Parse, and answer what is whole."""
        if self._received == 0:
            self.deadline = monotonic() + REQUEST_SECONDS
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:  # HTTP/2, websockets: not here
            self._refuse(HTTPStatus.BAD_REQUEST)
            return
        except httptools.HttpParserError:
            self._refuse(HTTPStatus.BAD_REQUEST)
            return
        if self._received > REQUEST_MOST_BYTES:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
            return
        self._work()

    def pause_writing(self) -> None:
        """The client reads more slowly than it asks: hear no more of it for now."""
        if self._transport:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """It has caught up."""
        if self._transport and self._working is None:
            self._transport.resume_reading()

    # The parser's calls.

    def on_message_begin(self) -> None:
        """A request begins."""
        self._request = Request()

    def on_url(self, url: bytes) -> None:
        """Maybe a part of it."""
        self._request.target += url.decode("latin-1")

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        self._request.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_message_complete(self) -> None:
        """It is whole."""
        self._request.method = self._parser.get_method().decode("latin-1")
        self._request.keep_alive = self._parser.should_keep_alive()
        self._waiting.append(self._request)
        self._received = 0

    # Ours.

    def time_out(self) -> None:
        """Too slow: say so if a request was begun, and close."""
        if self._received and not self._waiting and self._working is None:
            self._send(error(HTTPStatus.REQUEST_TIMEOUT), keep_alive=False)
        if self._transport:
            self._transport.abort() if self._transport.get_write_buffer_size() else self.close()

    def close(self) -> None:
        """Close when what was written is sent."""
        if self._transport:
            self._transport.close()

    def _work(self) -> None:
        while self._waiting and self._working is None and self._transport:
            request = self._waiting.popleft()
            answer = self._connections.handler(request)
            if isinstance(answer, Response):
                self._finish(request, answer)
            else:
                self._transport.pause_reading()
                self._working = asyncio.ensure_future(self._later(request, answer))

    async def _later(self, request: Request, answer: Awaitable[Response]) -> None:
        response = await answer
        self._working = None
        self._finish(request, response)
        if self._transport and not self._transport.is_closing():
            self._transport.resume_reading()
            self._work()

    def _finish(self, request: Request, response: Response) -> None:
        self._send(response, keep_alive=request.keep_alive, head=request.method == "HEAD")
        self.deadline = monotonic() + (REQUEST_SECONDS if self._received else IDLE_SECONDS)
        if not request.keep_alive:
            self._waiting.clear()
            self.close()
        elif self._transport and self._transport.get_write_buffer_size() > UNSENT_MOST_BYTES:
            self._waiting.clear()
            self._transport.abort()

    def _refuse(self, status: HTTPStatus) -> None:
        self._waiting.clear()
        self._send(error(status), keep_alive=False)
        self.close()

    def _send(self, response: Response, *, keep_alive: bool, head: bool = False) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        lines = [f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}", date_line()]
        lines += [f"{name}: {value}" for name, value in response.headers.items()]
        lines.append(f"Content-Length: {len(response.body)}")
        if not keep_alive:
            lines.append("Connection: close")
        start = "\r\n".join([*lines, "", ""]).encode("latin-1")
        self._transport.write(start if head else start + response.body)


def date_line() -> str:
    """The Date header, made once a second."""
    return _date_line(int(time()))


@lru_cache(maxsize=1)
def _date_line(second: int) -> str:
    return strftime("Date: %a, %d %b %Y %H:%M:%S GMT", gmtime(second))  # the locale is C's


def error(status: HTTPStatus, **headers: str) -> Response:
    """An answer that says what is wrong."""
    plain = {"Content-Type": "text/plain; charset=utf-8", **headers}
    return Response(f"{status} {status.phrase}\n".encode(), status, plain)

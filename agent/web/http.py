"""HTTP/1.1 on asyncio: bytes in, requests out, bytes back. agent/web/exporter.py answers.

httptools (Node's parser) reads the requests. The server here exists for two things that those at
hand lack: an answer that costs no more than a copy, and deadlines for clients that send or read too
slowly, or nothing at all. agent/web/listener.py accepts the connections.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from http import HTTPStatus
from time import gmtime, monotonic, strftime, time

import httptools

from agent.web.admission import Admission, Place, network
from agent.web.limits import Limits

READ_BYTES = 4 << 10  # at once: limits are held as exactly as this
AUTHORITY = re.compile(r"https?://[^/?]*", re.IGNORECASE)

log = logging.getLogger("deeprig-agent")


@dataclass
class Request:
    """What was asked. headers: names in lower case; repeated ones are joined (RFC 9110, 5.3).

    client: the network that it came from (agent/web/admission.py).
    """

    method: str = ""
    target: str = ""
    version: str = "1.1"
    headers: dict[str, str] = field(default_factory=dict)
    keep_alive: bool = True
    client: str = ""

    @property
    def path(self) -> str:
        """The target without its query, and without the host that a proxy's client names.

        >>> Request(target="http://rig:10390/metrics?a=b").path
        '/metrics'
        """
        return AUTHORITY.sub("", self.target.partition("?")[0], count=1) or "/"


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

    def __init__(self, handler: Handler, limits: Limits | None = None) -> None:
        self.handler = handler
        self.limits = limits or Limits()
        self.admission = Admission(self.limits)
        self.open: set[Connection] = set()
        self.buffer = memoryview(bytearray(READ_BYTES))  # of all: what is in it is used at once
        self._sweeping: asyncio.TimerHandle | None = None

    def connect(self, place: Place) -> Connection:
        """Return the protocol of a new connection."""
        return Connection(self, place)

    def add(self, connection: Connection) -> None:
        """From now on its deadlines are watched."""
        self.open.add(connection)
        if self._sweeping is None:
            self._sweep()

    def remove(self, connection: Connection, place: Place) -> None:
        """Forget a connection that is closed."""
        self.open.discard(connection)
        self.admission.release(place)

    def _sweep(self) -> None:
        """Close those whose time is up, again and again while there are any."""
        now = monotonic()
        for connection in [one for one in self.open if one.deadline < now]:
            connection.time_out()
        loop = asyncio.get_running_loop()
        again = self.limits.sweep_seconds
        self._sweeping = loop.call_later(again, self._sweep) if self.open else None

    def close(self) -> None:
        """Close all, also those that no protocol has yet."""
        for connection in list(self.open):
            connection.close()
        self.admission.close()


class Connection(asyncio.BufferedProtocol):
    """One client. Requests are answered in their order, one at a time, and only as fast as the
    client takes the answers: of one that does not, at most one answer is held."""

    def __init__(self, connections: Connections, place: Place) -> None:
        self._connections = connections
        self._limits = connections.limits
        self._place = place
        self._client = network(place.address)
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._request = Request()
        self._begun = False  # a request whose end is not here yet
        self._in_body = False
        self._received = 0  # bytes since the last whole request
        self._headers = 0  # of the request that is being received
        self._waiting: deque[Request] = deque()
        self._working: asyncio.Task[None] | None = None
        self._over_tls = False
        self._full = False  # the client does not take what was written
        self._deaf = False  # nothing more is heard: close when all is answered
        self._refusal: HTTPStatus | None = None  # that comes after the answers
        self.deadline = monotonic() + self._limits.request_seconds

    # asyncio's calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._place.close = transport.abort
        self._over_tls = transport.get_extra_info("ssl_object") is not None
        if not self._over_tls:
            # asyncio reports that the client lags behind as soon as bytes wait for it.
            transport.set_write_buffer_limits(high=0)
        self._connections.add(self)

    def connection_lost(self, reason: Exception | None) -> None:
        """Forget it."""
        self._connections.remove(self, self._place)
        self._transport = None
        if self._working is not None:
            self._working.cancel()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where to put what is received."""
        return self._connections.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Parse, and answer what is whole."""
        if not self._deaf:
            self._parse(bytes(self._connections.buffer[:nbytes]))
            self._work()

    def eof_received(self) -> bool:
        """The client says no more; it may still want its answers. True keeps the connection."""
        self._deaf = True
        wanted = bool(self._waiting or self._working)
        return wanted and self._transport is not None and self._transport.can_write_eof()

    def pause_writing(self) -> None:
        """The client reads more slowly than it asks: hear no more of it for now."""
        self._full = True
        self.deadline = monotonic() + self._limits.request_seconds
        self._listen()

    def resume_writing(self) -> None:
        """It has caught up."""
        self._full = False
        self._rest()
        self._work()

    # The parser's calls.

    def on_message_begin(self) -> None:
        """A request begins."""
        self._request, self._begun, self._in_body = Request(client=self._client), True, False
        self._headers = 0
        self.deadline = monotonic() + self._limits.request_seconds

    def on_url(self, url: bytes) -> None:
        """Maybe a part of it."""
        self._request.target += url.decode("latin-1")

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header, or a trailer behind a body: trailers count, and are not used."""
        self._headers += 1
        if self._in_body:
            return
        headers, key = self._request.headers, name.decode("latin-1").lower()
        text = value.decode("latin-1")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text

    def on_headers_complete(self) -> None:
        """What follows is its body."""
        self._in_body = True

    def on_message_complete(self) -> None:
        """It is whole."""
        request = self._request
        if self._headers > self._limits.headers:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        if self._refusal:
            return
        request.method = self._parser.get_method().decode("latin-1")
        request.version = self._parser.get_http_version()
        request.keep_alive = self._parser.should_keep_alive()
        self._waiting.append(request)
        self._begun, self._received = False, 0

    # Ours.

    def time_out(self) -> None:
        """End a connection that is too slow; a request that was begun gets 408."""
        if self._transport is None:
            return
        if self._full or self._deaf or self._transport.is_closing():
            self._transport.abort()
            return
        if self._begun and not self._waiting and self._working is None:
            self._send(error(HTTPStatus.REQUEST_TIMEOUT), keep_alive=False)
        self.close()

    def close(self) -> None:
        """Close when what was written is sent; a client that does not take it has a deadline."""
        if self._transport and not self._transport.is_closing():
            self.deadline = monotonic() + self._limits.request_seconds
            self._transport.close()

    def _parse(self, data: bytes) -> None:
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # To HTTP/2 or a websocket, which are not here: answered as if it had not been asked for
            # (RFC 9110, 7.8). What follows may be in that protocol, so nothing of it is read.
            self._waiting[-1].keep_alive, self._deaf = False, True
        except httptools.HttpParserError:
            self._refuse(HTTPStatus.BAD_REQUEST)
        else:
            if self._received > self._limits.request_bytes:
                self._refuse(
                    HTTPStatus.REQUEST_ENTITY_TOO_LARGE
                    if self._begun and self._in_body
                    else HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
                )

    def _refuse(self, status: HTTPStatus) -> None:
        """Refuse what is received from here on; the first reason counts."""
        self._deaf = True
        self._refusal = self._refusal or status

    def _work(self) -> None:
        while self._waiting and self._working is None and not self._full and self._transport:
            request = self._waiting.popleft()
            try:
                answer = self._connections.handler(request)
            except Exception:  # of one request; the server goes on
                log.exception("%s %s", request.method, request.path)
                answer = error(HTTPStatus.INTERNAL_SERVER_ERROR)
            if isinstance(answer, Response):
                self._finish(request, answer)
            else:
                self._place.is_busy = True
                self._working = asyncio.ensure_future(self._later(request, answer))
        if self._deaf and not (self._waiting or self._working or self._full):
            self._end()
        self._listen()

    async def _later(self, request: Request, answer: Awaitable[Response]) -> None:
        try:
            response = await answer
        except Exception:
            log.exception("%s %s", request.method, request.path)
            response = error(HTTPStatus.INTERNAL_SERVER_ERROR)
        self._working = None
        self._finish(request, response)
        self._work()

    def _finish(self, request: Request, response: Response) -> None:
        self._place.rest()
        self._send(
            response,
            keep_alive=request.keep_alive,
            head=request.method == "HEAD",
            version=request.version,
        )
        if not request.keep_alive:
            self._waiting.clear()
            self.close()
        elif not self._full:
            self._rest()

    def _rest(self) -> None:
        """From now on the client may be silent for long, unless it has begun to ask."""
        if not self._begun:
            self.deadline = monotonic() + self._limits.idle_seconds

    def _listen(self) -> None:
        """Hear the client, or not, as there is room for what it says."""
        if self._transport and not self._transport.is_closing() and not self._deaf:
            busy = self._full or self._working is not None
            self._transport.pause_reading() if busy else self._transport.resume_reading()

    def _end(self) -> None:
        """Close; after a refusal not at once, for a reset could overtake its words."""
        refusal, self._refusal = self._refusal, None
        if refusal and self._transport and not self._transport.is_closing():
            self._send(error(refusal), keep_alive=False)
            if self._transport.can_write_eof():
                self.deadline = monotonic() + self._limits.linger_seconds
                self._transport.write_eof()
                return
        self.close()

    def _send(
        self, response: Response, *, keep_alive: bool, head: bool = False, version: str = "1.1"
    ) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        lines = [f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}", date_line()]
        lines += [f"{name}: {value}" for name, value in response.headers.items()]
        lines.append(f"Content-Length: {len(response.body)}")
        if not keep_alive:
            lines.append("Connection: close")
        elif version == "1.0":  # where it is not the rule
            lines.append("Connection: keep-alive")
        start = "\r\n".join([*lines, "", ""]).encode("latin-1")
        self._transport.write(start if head else start + response.body)
        if self._over_tls:
            # Report a client that lags behind by the 64 KiB of the transport below. Not before the
            # first answer: until then TLS's own session tickets may wait, and would count.
            self._transport.set_write_buffer_limits(high=1, low=0)


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

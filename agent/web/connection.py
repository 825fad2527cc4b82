"""uvicorn's connection with limits on bytes, headers and time.

uvicorn parses requests (httptools) and runs the application. It has no deadline for a request that
does not arrive or an answer that is not taken, and no limit on a request's size; both are here.
"""

from __future__ import annotations

import asyncio
import re
from http import HTTPStatus

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from agent.web.limits import ClientLimits
from agent.web.messages import error
from agent.web.slots import ConnectionSlots, Slot

READ_BYTES = 4 << 10  # parsed at once: limits are exact to this many bytes
EMPTY_PATH = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]+")


class Connection(HttpToolsProtocol):
    """One client's connection. Its slot is free when it is closed.

    A refusal (a request that is malformed, too large or too slow) is sent after the answers to the
    requests before it, and nothing that follows is read.
    """

    def __init__(
        self,
        config: Config,
        state: ServerState,
        limits: ClientLimits,
        slots: ConnectionSlots,
        slot: Slot,
    ) -> None:
        super().__init__(config, state, {})
        self._limits, self._slots, self._slot = limits, slots, slot
        self._timer: asyncio.TimerHandle | None = None
        self._unparsed = b""  # waits until earlier requests are answered
        self._received = 0  # bytes since the last complete request
        self._header_count = 0
        self._unanswered = 0  # complete requests
        self._is_in_request = self._is_in_body = False
        self._is_deaf = False  # nothing more is read
        self._refusal: HTTPStatus | None = None

    # asyncio calls these.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the deadline of the first request."""
        super().connection_made(transport)
        self._slot.close = transport.abort
        if self.scheme == "http":  # pause as soon as the client does not take everything
            transport.set_write_buffer_limits(high=0)
        self._start_timer(self._limits.request_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """Free the slot."""
        super().connection_lost(exc)
        self._stop_timer()
        self._unset_keepalive_if_required()
        self._slots.release(self._slot)

    def data_received(self, data: bytes) -> None:
        """Parse requests; the deadline of a request begins with its first byte."""
        if self._is_deaf:
            return
        self._unset_keepalive_if_required()
        self._unparsed += data
        self._parse()
        if self._timer is None and not self._unanswered:
            self._start_timer(self._limits.request_seconds)

    def eof_received(self) -> bool:  # type: ignore[override]
        """Keep the connection while answers are due: the client can still read."""
        self._is_deaf = True
        return bool(self._unanswered) and self.transport.can_write_eof()

    def pause_writing(self) -> None:
        """Start the deadline of an answer that the client does not take."""
        super().pause_writing()
        self._slot.is_busy = False
        self._start_timer(self._limits.request_seconds)

    def resume_writing(self) -> None:
        """Stop that deadline."""
        super().resume_writing()
        self._stop_timer()
        self._slot.is_busy = bool(self._unanswered)
        if self._is_in_request or self.transport.is_closing():
            self._start_timer(self._limits.request_seconds)
        if self._is_deaf:
            self._finish()

    # The parser calls these.

    def on_message_begin(self) -> None:
        """Start the deadline of a request that follows another one directly."""
        super().on_message_begin()
        self._is_in_request, self._is_in_body, self._header_count = True, False, 0
        if not self.flow.write_paused:
            self._start_timer(self._limits.request_seconds)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count headers and trailers; trailers are not used."""
        self._header_count += 1
        if not self._is_in_body:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Start the application, unless the request is refused."""
        if self._header_count > self._limits.headers:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        if self._is_deaf:
            return
        if EMPTY_PATH.fullmatch(self.url):
            self.url += b"/"
        self.scope["state"]["target"] = self.url.decode("latin-1")
        super().on_headers_complete()
        self.cycle.keep_alive = self.parser.should_keep_alive()  # also of HTTP/1.0
        self._is_in_body = True

    def on_message_complete(self) -> None:
        """Count a complete request: now the client waits for the agent."""
        if self._header_count > self._limits.headers:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        if self._is_deaf:
            return
        super().on_message_complete()
        self._is_in_request = self._is_in_body = False
        self._received = 0
        self._unanswered += 1
        if not self.flow.write_paused:
            self._slot.is_busy = True
            self._stop_timer()

    def on_response_complete(self) -> None:
        """Go on with the next request, or end the connection."""
        self._unanswered -= 1
        self._slot.rest()
        super().on_response_complete()
        if self.scheme == "https":
            # Pause when TLS's buffer below holds 64 KiB. Not before the first answer: until then
            # TLS's session tickets may wait in it, and would count.
            self.transport.set_write_buffer_limits(high=1, low=0)
        self._slot.is_busy = self._unanswered > 0 and not self.flow.write_paused
        if self.transport.is_closing():
            self._start_timer(self._limits.request_seconds)
        elif self.pipeline:
            self.flow.pause_reading()  # uvicorn resumes after every answer
        elif self._is_deaf:
            self._finish()
        else:
            self._parse()

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection without requests."""
        super().timeout_keep_alive_handler()
        self._start_timer(self._limits.request_seconds)

    # Ours.

    def _parse(self) -> None:
        while self._unparsed and not (self._is_deaf or self.flow.read_paused):
            data, self._unparsed = self._unparsed[:READ_BYTES], self._unparsed[READ_BYTES:]
            self._received += len(data)
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade:
                # The agent speaks neither HTTP/2 nor WebSocket: the request is answered as if it
                # had not asked for them (RFC 9110, 7.8). What follows may be in that protocol.
                self._is_deaf, self.cycle.keep_alive = True, False
            except httptools.HttpParserError:
                self._refuse(HTTPStatus.BAD_REQUEST)
            if self._received > self._limits.request_bytes:
                self._refuse(
                    HTTPStatus.REQUEST_ENTITY_TOO_LARGE
                    if self._is_in_body
                    else HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
                )

    def _refuse(self, status: HTTPStatus) -> None:
        """Refuse the current request and everything after it; the first reason counts."""
        self._is_deaf, self._refusal = True, self._refusal or status
        if self._is_in_body:  # the application waits for the rest of the request
            self._is_in_body = False
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self._finish()

    def _finish(self) -> None:
        """Send the refusal, if any, and close when everything is answered."""
        if self._unanswered or self.flow.write_paused or self.transport.is_closing():
            return
        refusal, self._refusal = self._refusal, None
        if refusal:
            self.transport.write(error(refusal).encode())
            if self.transport.can_write_eof():
                # Not at once: a reset for data that is on its way could overtake the answer.
                self.transport.write_eof()
                self._start_timer(self._limits.linger_seconds)
                return
        self.transport.close()
        self._start_timer(self._limits.request_seconds)

    def _time_out(self) -> None:
        self._timer = None
        if self.flow.write_paused or self._is_deaf or self.transport.is_closing():
            self.transport.abort()
        elif self._is_in_request and not self._unanswered:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT)
        else:
            self.transport.close()
            self._start_timer(self._limits.request_seconds)

    def _start_timer(self, seconds: float) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(seconds, self._time_out)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

"""Requests that another server could parse differently are refused, with all that follows."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from agent.web.limits import ClientLimits
from agent.web.messages import HttpRequest, HttpResponse
from tests.unit.agent.web.server import Server, create_application, serve_application

POST = b"POST / HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    def handler(request: HttpRequest) -> HttpResponse:
        seen = request.headers.get("x-seen", "")
        return HttpResponse(f"{request.method} {request.path} {seen}".encode())

    with serve_application(create_application(handler)) as made:
        yield made


@pytest.mark.parametrize(
    "request_",
    [
        POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"Content-Length: +3\r\n\r\nabc",
        POST + b"Content-Length: 0x3\r\n\r\nabc",
        POST + b"Content-Length: 3, 3\r\n\r\nabc",
        POST + b"Content-Length: -1\r\n\r\n",
        POST + b"Content-Length: 1 2\r\n\r\n",
        POST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
        POST + b"Content-Length: 99999999999999999999999\r\n\r\n",
        POST + b"A: b\r\n c\r\n\r\n",
        POST + b" A: b\r\n\r\n",
        POST + b"A: b\rC: d\r\n\r\n",
        POST + b"A: b\nContent-Length: 40\r\n\r\n",
        POST + b"A: b\x00\r\n\r\n",
        POST + b": b\r\n\r\n",
        CHUNKED + b"0x1\r\na\r\n0\r\n\r\n",
        CHUNKED + b"1\na\n0\n\n",
        CHUNKED + b"ffffffffffffffffff\r\na",
        CHUNKED + b"-1\r\na",
        CHUNKED + b'1;x="\n"\r\na\r\n0\r\n\r\n',
        b"GET / HTTP/1.1 x\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\nHost: localhost\n\n",
        b"GET / HTTP/01.1\r\nHost: localhost\r\n\r\n",
        b"G\x00T / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
)
def test_an_ambiguous_request_ends_the_connection(server: Server, request_: bytes) -> None:
    client = server.connect()
    client.send(request_ + HIDDEN)
    answer = client.answer()
    assert (answer.status, answer.headers["connection"]) == (400, "close")
    assert b"hidden" not in client.read_rest()


def test_a_request_with_too_many_headers_is_refused(server: Server) -> None:
    most = ClientLimits().headers
    client = server.connect()
    client.send(POST + b"X: y\r\n" * (most - 1) + b"\r\n")
    assert client.answer().status == 200
    client.send(POST + b"X: y\r\n" * most + b"\r\n" + HIDDEN)
    assert client.answer().status == 431
    assert b"hidden" not in client.read_rest()


def test_trailers_are_not_headers(server: Server) -> None:
    client = server.connect()
    client.send(CHUNKED + b"1\r\na\r\n0\r\nX-Seen: trailer\r\n\r\n")
    assert client.answer().body == b"POST / "
    client.send(POST + b"X-Seen: header\r\n\r\n")
    assert client.answer().body == b"POST / header"

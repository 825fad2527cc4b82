"""HTTP requests: whole, in parts, pipelined, invalid."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Iterator

import pytest

from agent.web.limits import ClientLimits
from agent.web.messages import HttpRequest, HttpResponse
from tests.unit.agent.web.server import Server, create_application, serve_application, wait_for

GET = b"GET /a HTTP/1.1\r\nHost: rig\r\n\r\n"
LIMITS = ClientLimits(request_bytes=4096)


async def answer_later(request: HttpRequest) -> HttpResponse:
    await asyncio.sleep(0.004)
    return HttpResponse(request.target.encode())


def handler(request: HttpRequest) -> HttpResponse | asyncio.Future[HttpResponse]:
    """Echo the request; /slow answers later, /broken raises."""
    if request.path == "/broken":
        raise ZeroDivisionError
    if request.path.startswith("/slow"):
        return asyncio.ensure_future(answer_later(request))
    headers = {"Content-Type": "text/plain", "X-Accept": request.headers.get("accept", "")}
    return HttpResponse(f"{request.method} {request.path}".encode(), headers=headers)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serve_application(create_application(handler), LIMITS) as made:
        yield made


def test_connection_is_persistent(server: Server) -> None:
    client = server.connect()
    for number in range(3):
        answer = client.ask(f"/{number}?query")
        assert (answer.status, answer.body) == (200, f"GET /{number}".encode())
        assert "connection" not in answer.headers
        assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} [\d:]{8} GMT", answer.headers["date"])


@pytest.mark.parametrize(
    ("request_", "header", "stays_open"),
    [
        (b"GET /a HTTP/1.1\r\nHost: rig\r\n\r\n", None, True),
        (b"GET /a HTTP/1.1\r\nHost: rig\r\nConnection: close\r\n\r\n", "close", False),
        (b"GET /a HTTP/1.0\r\n\r\n", "close", False),
        (b"GET /a\r\n\r\n", "close", False),  # HTTP/0.9, as some health checks have it
        (b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "keep-alive", True),
    ],
)
def test_connection_header_decides_about_closing(
    server: Server, request_: bytes, header: str | None, stays_open: bool
) -> None:
    client = server.connect()
    client.send(request_)
    answer = client.answer()
    assert (answer.status, answer.headers.get("connection")) == (200, header)
    if stays_open:
        assert client.ask("/b").body == b"GET /b"
    else:
        assert client.is_closed()


def test_head_answer_has_the_length_and_no_body(server: Server) -> None:
    client = server.connect()
    answer = client.ask("/a", method="HEAD")
    assert (answer.status, answer.headers["content-length"]) == (200, str(len("HEAD /a")))
    assert client.ask("/b").body == b"GET /b", "no body stood in between"


def test_request_may_arrive_in_two_parts(server: Server) -> None:
    whole = b"GET /a?b=c HTTP/1.1\r\nHost: rig\r\nAccept: x\r\nAccept: y\r\n\r\n"
    client = server.connect()
    client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for cut in range(1, len(whole)):
        client.send(whole[:cut])
        client.send(whole[cut:])
        answer = client.answer()
        assert (answer.body, answer.headers["x-accept"]) == (b"GET /a", "x, y"), cut


def test_request_may_arrive_byte_by_byte(server: Server) -> None:
    client = server.connect()
    client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in GET:
        client.send(bytes([byte]))
    assert client.answer().body == b"GET /a"


def test_pipelined_requests_are_answered_in_order(server: Server) -> None:
    """Some answers take time, and the last request is incomplete."""
    client = server.connect()
    targets = [f"/slow{number}" if number % 7 == 3 else f"/{number}" for number in range(500)]
    whole = b"".join(f"GET {target} HTTP/1.1\r\nHost: r\r\n\r\n".encode() for target in targets)
    client.send(whole[:-5])
    bodies = [client.answer().body.decode().removeprefix("GET ") for _ in targets[:-1]]
    assert bodies == targets[:-1]
    client.send(whole[-5:])
    assert client.answer().body.decode() == f"GET {targets[-1]}"


def test_pending_answers_precede_a_refusal(server: Server) -> None:
    client = server.connect()
    client.send(GET + b"GET /slow HTTP/1.1\r\nHost: r\r\n\r\n" + b"what is this?\r\n\r\n")
    assert [client.answer().status for _ in range(3)] == [200, 200, 400]
    assert client.is_closed()


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),  # TLS
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),  # HTTP/2
        (b"\x00" * 64, 400),
        (b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc", 400),
        (b"GET / HTTP/1.1\r\nbroken header\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nA: " + b"x" * 8192 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 2000 + b"\r\n", 431),
        (b"GET /" + b"x" * 1_000_000, 431),  # more than the buffers hold: it is still being sent
        (b"\r\n" * 8192, 431),
        (b"POST / HTTP/1.1\r\nContent-Length: 9000\r\n\r\n" + b"x" * 9000, 413),
    ],
)
def test_invalid_request_is_refused(server: Server, data: bytes, status: int) -> None:
    client = server.connect()
    try:
        client.send(data)
    except ConnectionError:
        pytest.fail("the connection was reset while the client was sending")
    answer = client.answer()
    assert (answer.status, answer.headers["connection"]) == (status, "close")
    assert answer.body.startswith(str(status).encode())
    assert client.is_closed()


def test_body_of_a_get_is_ignored(server: Server) -> None:
    client = server.connect()
    client.send(b"GET /a HTTP/1.1\r\nHost: r\r\nContent-Length: 20\r\n\r\nGET /b HTTP/1.1\r\n\r\n.")
    assert client.answer().body == b"GET /a"
    chunks = b"5\r\nGET /\r\n0\r\n\r\n"
    client.send(b"GET /c HTTP/1.1\r\nHost: r\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks)
    assert client.answer().body == b"GET /c"


@pytest.mark.parametrize("protocol", ["h2c", "websocket"])
def test_protocol_upgrade_is_ignored(server: Server, protocol: str) -> None:
    """curl --http2 asks for it, and accepts HTTP/1.1."""
    client = server.connect()
    client.send(
        f"GET /a HTTP/1.1\r\nHost: r\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\r\n".encode()
        + b"PRI * HTTP/2.0\r\n"
    )
    answer = client.answer()
    assert (answer.status, answer.body) == (200, b"GET /a")
    assert client.is_closed()


def test_absolute_target_is_accepted(server: Server) -> None:
    assert server.ask("http://rig:10390/a?b").body == b"GET /a"
    assert server.ask("HTTP://rig").body == b"GET /"


def test_client_may_close_its_sending_side(server: Server) -> None:
    for target in (b"/a", b"/slow"):
        client = server.connect()
        client.send(GET.replace(b"/a", target))
        client.socket.shutdown(socket.SHUT_WR)
        assert client.answer().body.endswith(target)
        assert client.is_closed()


def test_failing_handler_affects_only_its_request(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    client = server.connect()
    assert client.ask("/broken").status == 500
    assert "ZeroDivisionError" in caplog.text
    assert client.ask("/a").status == 200


def test_closed_connections_are_removed(server: Server) -> None:
    before = server.count_connections()
    for data in (b"", b"GET / HT", GET, b"GET /slow HTTP/1.1\r\nHost: r\r\n\r\n"):
        client = server.connect()
        client.send(data)
        client.close()
    wait_for(lambda: server.count_connections() <= before, "all closed")


def test_headers_belong_to_one_request(server: Server) -> None:
    client = server.connect()
    answers = [client.ask("/a", accept="x"), client.ask("/a")]
    assert [answer.headers["x-accept"] for answer in answers] == ["x", ""]

"""Requests and answers, without the bytes of HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from http import HTTPStatus
from time import gmtime, strftime, time
from typing import Any

from agent.web.slots import find_network


@dataclass(frozen=True)
class HttpRequest:
    """A request. headers: names in lower case; repeated headers are joined (RFC 9110, 5.3).

    target: as the client sent it; path: decoded, without query and host. client: the network that
    the request came from (slots.py).
    """

    method: str = "GET"
    path: str = "/"
    target: str = ""
    version: str = "1.1"
    headers: Mapping[str, str] = field(default_factory=dict)
    client: str = ""

    @classmethod
    def parse(cls, scope: Mapping[str, Any]) -> HttpRequest:
        """Return the request of an ASGI scope."""
        headers: dict[str, str] = {}
        for name, value in scope["headers"]:
            key, text = name.decode("latin-1"), value.decode("latin-1")
            headers[key] = f"{headers[key]}, {text}" if key in headers else text
        return cls(
            method=scope["method"],
            path=scope["path"],
            target=scope["state"]["target"],
            version=scope["http_version"],
            headers=headers,
            client=find_network(scope["client"][0]) if scope["client"] else "",
        )

    @property
    def has_body(self) -> bool:
        """Whether the headers announce a body."""
        return "content-length" in self.headers or "transfer-encoding" in self.headers

    @property
    def keeps_old_connection(self) -> bool:
        """Whether an HTTP/1.0 client asks to keep the connection, which needs an answer."""
        return self.version == "1.0" and "keep-alive" in self.headers.get("connection", "").lower()


@dataclass(frozen=True)
class HttpResponse:
    """An answer. Its length, Date and Connection are added when it is sent."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)

    def encode_headers(self) -> list[tuple[bytes, bytes]]:
        """Return the headers as ASGI expects them."""
        lines = [
            ("date", format_date(int(time()))),
            *self.headers.items(),
            ("content-length", str(len(self.body))),
        ]
        return [(name.lower().encode("latin-1"), text.encode("latin-1")) for name, text in lines]

    def encode(self) -> bytes:
        """Return the whole answer as HTTP/1.1, for a connection that ends with it."""
        head = [f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}".encode()]
        head += [name + b": " + text for name, text in self.encode_headers()]
        return b"\r\n".join([*head, b"connection: close", b"", self.body])


def error(status: HTTPStatus, **headers: str) -> HttpResponse:
    """Return a plain text answer with the status and its phrase."""
    fields = {"Content-Type": "text/plain; charset=utf-8", **headers}
    return HttpResponse(f"{status} {status.phrase}\n".encode(), status, fields)


@lru_cache(maxsize=1)
def format_date(second: int) -> str:
    """Return a Unix time as the Date header has it.

    >>> format_date(0)
    'Thu, 01 Jan 1970 00:00:00 GMT'
    """
    return strftime("%a, %d %b %Y %H:%M:%S GMT", gmtime(second))  # the locale is C's

"""The names that the agent answers to, against DNS rebinding.

A page of another site can make its name resolve to the rig, and a browser then lets the page read
the agent's answers. Its requests have the site's name in the Host header. IP addresses are safe: no
name was resolved.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from functools import lru_cache
from http import HTTPStatus

from agent.web.messages import HttpRequest

#: host [":" port] of RFC 3986, without user names: an address in brackets, or a name.
AUTHORITY = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(?::[0-9]{0,5})?")
ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://(?P<authority>[^/?#]*)")


class AllowedHosts:
    """Decides whether a request is for this agent. names: besides addresses and localhost."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names = {"localhost", *(normalize(name) for name in names)}

    def refuse(self, request: HttpRequest) -> HTTPStatus | None:
        """Return 400 for a missing, repeated or invalid host, 421 for one of another server.

        Before HTTP/1.1 the header is optional; browsers, which rebinding needs, always send it. An
        absolute target also names a host.
        """
        authorities = []
        if "host" in request.headers:
            authorities.append(request.headers["host"])
        elif request.version not in ("0.9", "1.0"):
            return HTTPStatus.BAD_REQUEST
        absolute = ABSOLUTE.match(request.target)
        if absolute:
            authorities.append(absolute["authority"])
        for authority in authorities:  # two Host headers are joined by a comma: invalid
            match = AUTHORITY.fullmatch(authority)
            if not match:
                return HTTPStatus.BAD_REQUEST
            if not self._is_allowed(match["host"]):
                return HTTPStatus.MISDIRECTED_REQUEST
        return None

    def _is_allowed(self, host: str) -> bool:
        return is_address(host.strip("[]")) or normalize(host) in self._names


@lru_cache(maxsize=1024)
def is_address(host: str) -> bool:
    """Return whether a host is an IP address.

    >>> is_address("192.0.2.7"), is_address("::1"), is_address("attic")
    (True, True, False)
    """
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def normalize(name: str) -> str:
    """Return a name for comparison: in lower case, without the root's dot.

    >>> normalize("Rig.Example.org.")
    'rig.example.org'
    """
    return name.lower().removesuffix(".")

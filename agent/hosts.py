"""The names that the agent answers to, against DNS rebinding.

A page of another site can make its own name resolve to the rig, and a browser then lets it read the
agent's answers. Its requests have the site's name in the Host header. IP addresses are safe: no
name was resolved.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterable
from functools import lru_cache
from http import HTTPStatus
from pathlib import Path

from agent.configfile import Source
from agent.http import Request

KEY = "host_names"  # in the agent's configuration file
HOSTS_FILE = Path("/etc/hosts")
#: host [":" port] of RFC 3986, without user names: an address in brackets, or a name.
AUTHORITY = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(?::[0-9]{0,5})?")
ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://(?P<authority>[^/?#]*)")
NAME = re.compile(
    r"(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9_][A-Za-z0-9_-]{0,62})*"
)


class HostNames:
    """Decides whether a request is for this agent. names: besides addresses and localhost."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names = {"localhost", *(normalize(name) for name in names)}

    def refuse(self, request: Request) -> HTTPStatus | None:
        """Return 400 for a missing, repeated or invalid host, 421 for one of another server.

        Before HTTP/1.1 the header is optional; browsers, which rebinding needs, always send it. An
        absolute target names a host, too.
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
            found = AUTHORITY.fullmatch(authority)
            if not found:
                return HTTPStatus.BAD_REQUEST
            if not self._is_known(found["host"]):
                return HTTPStatus.MISDIRECTED_REQUEST
        return None

    def _is_known(self, host: str) -> bool:
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
    """Return a name as it is compared: in lower case, without the root's dot.

    >>> normalize("Rig.Example.org.")
    'rig.example.org'
    """
    return name.lower().removesuffix(".")


def own_names(hosts_file: Path = HOSTS_FILE) -> set[str]:
    """Return the machine's name, and the names beside it in /etc/hosts, such as its full name.

    No name server is asked: its answers may be an attacker's.
    """
    name = os.uname().nodename
    names = {name, name.partition(".")[0]}
    try:
        content = hosts_file.read_text(errors="replace")
    except OSError:
        return names
    for line in content.splitlines():
        _, *words = line.partition("#")[0].split() or [""]
        if name in words:
            names.update(words)
    return names


def configured_names(file: Path | None) -> list[str]:
    """Return `host_names` of the agent's configuration file. Raises ConfigurationError."""
    if file is None:
        return []
    source = Source.read(file)
    names = source.document.get(KEY) or [] if isinstance(source.document, dict) else []
    if not isinstance(names, list):
        raise source.error(KEY, f"'{KEY}' must be a list of names, not {names!r}")
    for name in names:
        if not isinstance(name, str) or not NAME.fullmatch(name.removesuffix(".")):
            raise source.error(
                KEY, f"'{KEY}': {name!r} is not a host name, such as rig.example.org"
            )
    return names

"""Secrets never reach the screen, a log or --json: they are masked at the edge.

So are the terminal's own commands, which a rig that somebody took over might send.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from provision.errors import RenderError
from provision.plain import plain
from provision.templating import NotYetKnown, UnknownInCheckMode

MASK = "********"
SHORTEST = 4  # characters: masking a shorter secret would mask half of every line

# Names of settings whose value is a secret, in variables and in what a rig's files say. `1` of a
# default login is too short to mask by value, so it is masked where a name gives it away.
_NAMES = (
    r"[\w.-]*(?:passw(?:or)?d|passphrase|passwd|secret|token(?!i[sz])|api_?key|accesskey|farm_hash|wallet|"
    r"private_key|psk)[\w.-]*"
)
_ASSIGNED = re.compile(
    rf"(?i)(?P<name>[\"']?\b{_NAMES}[\"']?\s*[=:]\s*)(?P<value>\"[^\"\n]*\"|'[^'\n]*'|[^\s,;}}\"']+)"
)
# Addresses of wallets: Ethereum and its kin, Bitcoin (bech32, base58), Kaspa, Ravencoin, Monero.
_WALLETS = re.compile(
    r"\b(?:0x[0-9a-fA-F]{40}|bc1[02-9ac-hj-np-z]{25,87}|kaspa:[02-9ac-hj-np-z]{50,80}|"
    r"[13R][1-9A-HJ-NP-Za-km-z]{25,34}|[48][1-9A-HJ-NP-Za-km-z]{94})\b"
)
_SECRET_NAME = re.compile(_NAMES, re.IGNORECASE)


class Redactor:
    """Masks the values it was told, settings with telling names, and wallet addresses."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._known = sorted({s for s in secrets if len(s) >= SHORTEST}, key=len, reverse=True)

    def text(self, text: str) -> str:
        """`text` with every secret masked, and nothing that a terminal would obey."""
        text = plain(text)
        for secret in self._known:
            text = text.replace(secret, MASK)
        text = _ASSIGNED.sub(lambda match: match["name"] + MASK, text)
        return _WALLETS.sub(MASK, text)

    def value(self, value: Any, name: str = "") -> Any:
        """A result with every secret in it masked, at any depth."""
        secret = bool(name and _SECRET_NAME.fullmatch(name))
        if isinstance(value, Mapping):
            return {
                self.text(key) if isinstance(key, str) else key: self.value(
                    item, name if secret else str(key)
                )
                for key, item in value.items()
            }
        if isinstance(value, (list, tuple)):
            return [self.value(item, name) for item in value]
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            return value
        if secret and value != "":
            return MASK
        return self.text(value) if isinstance(value, str) else self._number(value)

    def _number(self, value: float) -> Any:
        return MASK if str(value) in self._known else value


def secrets_of(
    variables: Mapping[str, Any], render: Callable[[Any], Any] = lambda value: value
) -> Iterator[str]:
    """The values, at any depth, of variables whose names say that they are secrets.

    `render` gives a value's text where it is a template; what can't be rendered is no secret yet.
    """
    for name, value in variables.items():
        if not _SECRET_NAME.fullmatch(str(name)) or str(name).endswith(("_file", "_path")):
            for each in value if isinstance(value, (list, tuple)) else [value]:
                if isinstance(each, Mapping):
                    yield from secrets_of(each, render)
            continue
        with contextlib.suppress(RenderError, NotYetKnown, UnknownInCheckMode):
            yield from _texts(render(value))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, (Mapping, list, tuple)):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(item)
    elif isinstance(value, (str, int)) and not isinstance(value, bool):
        yield str(value)

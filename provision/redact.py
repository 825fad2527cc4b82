"""Secrets never reach the screen, a log or --json: they are masked at the edge."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

MASK = "********"
SHORTEST = 4  # characters: masking a shorter secret would mask half of every line

# Names of settings whose value is a secret, in variables and in what a rig's files say. `1` of a
# default login is too short to mask by value, so it is masked where a name gives it away.
_NAMES = (
    r"[\w.-]*(?:passw(?:or)?d|passphrase|passwd|secret|token|api_?key|accesskey|farm_hash|wallet|"
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
        """`text` with every secret masked."""
        for secret in self._known:
            text = text.replace(secret, MASK)
        text = _ASSIGNED.sub(lambda match: match["name"] + MASK, text)
        return _WALLETS.sub(MASK, text)

    def value(self, value: Any, name: str = "") -> Any:
        """A result with every secret in it masked, at any depth."""
        if isinstance(value, Mapping):
            return {key: self.value(item, str(key)) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.value(item, name) for item in value]
        if isinstance(value, str):
            if name and _SECRET_NAME.fullmatch(name) and value:
                return MASK
            return self.text(value)
        return value


def secrets_of(variables: Mapping[str, Any]) -> list[str]:
    """The values of variables whose names say that they are secrets."""
    return [
        str(value)
        for name, value in variables.items()
        if isinstance(value, (str, int)) and _SECRET_NAME.fullmatch(str(name))
    ]

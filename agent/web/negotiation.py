"""Which format and which encoding of an answer a client prefers (RFC 9110, section 12.5)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

OPENMETRICS = "application/openmetrics-text"
#: The versions of the two text formats that a client can choose, besides naming none.
VERSIONS = {OPENMETRICS: ("1.0.0",), "text/plain": ("0.0.4", "1.0.0")}
ESCAPINGS = ("allow-utf-8", "underscores", "dots", "values")  # of metric names


@dataclass(frozen=True)
class Preference:
    """One entry of a header of the Accept family. weight: 0 refuses the entry."""

    value: str
    weight: float
    parameters: dict[str, str]


@lru_cache(maxsize=64)
def choose_format(accept: str) -> tuple[Callable[[Collector], bytes], str]:
    """Return the encoder for an Accept header, and the content type of its text.

    prometheus_client's choose_encoder ignores weights, so it gets only the format that the client
    prefers.

    >>> choose_format("text/plain;q=0.5, application/openmetrics-text;version=1.0.0")[1]
    'application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores'
    >>> choose_format("application/openmetrics-text;q=0, text/plain")[1]
    'text/plain; version=0.0.4; charset=utf-8'
    """
    offered = [entry for entry in parse_accept(accept) if entry.weight > 0 and is_offered(entry)]
    if not offered:
        return choose_encoder("")
    best = max(offered, key=lambda entry: (entry.weight, entry.value == OPENMETRICS))
    return choose_encoder(format_entry(best))


def is_offered(entry: Preference) -> bool:
    """Return whether the entry names a format that the agent can write."""
    version = entry.parameters.get("version")
    escaping = entry.parameters.get("escaping", ESCAPINGS[0])
    versions = VERSIONS.get(entry.value)
    return versions is not None and version in (None, *versions) and escaping in ESCAPINGS


def format_entry(entry: Preference) -> str:
    """Return the entry as choose_encoder parses it: without spaces, quotes and weight."""
    return ";".join([entry.value, *(f"{name}={value}" for name, value in entry.parameters.items())])


@lru_cache(maxsize=64)
def accepts_gzip(accept_encoding: str) -> bool:
    """Return whether a client accepts gzip.

    >>> accepts_gzip("deflate, gzip;q=0")
    False
    """
    return any(
        entry.value == "gzip" and entry.weight > 0 for entry in parse_accept(accept_encoding)
    )


def parse_accept(header: str) -> list[Preference]:
    """Return the entries of a header, in its order. An invalid weight counts as 0."""
    entries = []
    for text in header.split(","):
        value, *words = (word.strip() for word in text.split(";"))
        pairs = (word.partition("=") for word in words)
        parameters = {name.strip().lower(): text.strip().strip('"') for name, _, text in pairs}
        try:
            weight = float(parameters.pop("q", "1"))
        except ValueError:
            weight = 0.0
        entries.append(Preference(value.lower(), weight, parameters))
    return entries

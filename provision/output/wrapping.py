"""Text as wide as the terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from rich.console import Console

LEAST = 40  # columns: narrower terminals scroll


def print_pairs(pairs: Iterable[tuple[str, str]], console: Console, label: int) -> None:
    """Print (label, value) pairs in two columns."""
    margin = label + 2
    for name, value in pairs:
        parts = [part for line in value.splitlines() for part in wrap_lines(line, console, margin)]
        text = f"\n{' ' * margin}".join(parts)
        console.print(f"  {name:<{label}}{text}")


def wrap_lines(text: str, console: Console, margin: int) -> list[str]:
    """A paragraph's lines beside a margin, one at least. Paths and options stay whole."""
    width = max(console.width - margin, LEAST)
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False) or [""]

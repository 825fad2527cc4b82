"""Wrapped text: paragraphs, and paragraphs behind a label. Paths and options stay whole."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from rich.text import Text

WIDTH = 80  # columns of a report, in a terminal and in a log


def wrap_lines(text: str, width: int) -> list[str]:
    """Return the lines of a paragraph, at least one."""
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False) or [""]


def paragraph(text: str, indent: int, style: str = "") -> Iterator[Text]:
    """Yield a paragraph's lines, each indented."""
    for line in wrap_lines(text, WIDTH - indent):
        yield Text(" " * indent + line, style=style)


def hanging(label: str, text: str, indent: int = 4) -> Iterator[Text]:
    """Yield a paragraph behind its label, whose other lines are indented by `indent`."""
    margin = label[: len(label) - len(label.lstrip())]
    lines = textwrap.wrap(
        f"{label.lstrip()}{text}",
        WIDTH,
        initial_indent=margin,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    yield from map(Text, lines)

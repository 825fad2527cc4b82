"""Text in 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from rich.text import Text

WIDTH = 80


def wrapped(text: str, indent: int, style: str = "") -> Iterator[Text]:
    """A paragraph, every line indented."""
    for line in textwrap.wrap(text, WIDTH - indent):
        yield Text(" " * indent + line, style=style)


def hanging(label: str, text: str, indent: int = 4) -> Iterator[Text]:
    """A paragraph behind its label, whose other lines are indented by `indent`."""
    blank = label[: len(label) - len(label.lstrip())]
    lines = textwrap.wrap(
        f"{label.lstrip()}{text}", WIDTH, initial_indent=blank, subsequent_indent=" " * indent
    )
    yield from map(Text, lines)

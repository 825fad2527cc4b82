"""Tables of the terminal: rich's, without trailing blanks, the same in a terminal and in a log."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from provision.output.wrapping import wrap_lines

NARROWEST = 40  # columns: narrower terminals scroll
UNLIMITED = 10_000  # columns: cells are wrapped before, so that paths and options stay whole


class Grid:
    """A table without lines: columns of fixed widths, and a last column that wraps at blanks."""

    def __init__(self, console: Console, *widths: int, indent: int = 2) -> None:
        self._console = console
        self._indent = indent
        self._widths = widths
        self._width = max(console.width, NARROWEST) - indent - sum(widths) - len(widths)
        self._table = Table.grid(padding=(0, 1, 0, 0), pad_edge=False)
        for width in widths:
            self._table.add_column(width=width, no_wrap=True)
        self._table.add_column(no_wrap=True)

    def add_row(self, *cells: str | Text, style: str = "", margin: int = 0) -> None:
        """Add a row; style and margin (columns) are those of its last cell."""
        *labels, last = cells
        lines = [
            " " * margin + line
            for part in str(last).splitlines() or [""]
            for line in wrap_lines(part, self._width - margin)
        ]
        first = [Text(label) if isinstance(label, str) else label for label in labels]
        self._table.add_row(*first, Text("\n".join(lines), style))

    def print(self) -> None:
        """Print the table; nothing where it has no row."""
        if self._table.row_count:
            print_table(self._console, self._table, self._indent, UNLIMITED)


def print_table(console: Console, table: RenderableType, indent: int = 0, width: int = 0) -> None:
    """Print a table, indented. width: columns, instead of the terminal's."""
    options = console.options.update(width=width or max(console.width, NARROWEST) - indent)
    for segments in console.render_lines(table, options, pad=False):
        line = Text(" " * indent)
        for segment in segments:
            line.append(segment.text, segment.style)
        line.rstrip()
        console.print(line, soft_wrap=True)


def print_pairs(console: Console, pairs: Iterable[tuple[str, str]], label: int) -> None:
    """Print (label, value) pairs in two columns. label: the first column's width."""
    grid = Grid(console, label)
    for name, value in pairs:
        grid.add_row(name, value)
    grid.print()

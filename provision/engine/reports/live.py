"""The live display of a terminal: one line for each host that is at work."""

from __future__ import annotations

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from provision.boundary.text import clean_line


class LiveDisplay:
    """Shows what each host is doing, below the lines that are printed meanwhile."""

    def __init__(self, console: Console, width: int) -> None:
        self._width = width
        self._doing: dict[str, str] = {}
        self._live = Live(console=console, transient=True, refresh_per_second=8)

    def start(self) -> None:
        """Begin to draw."""
        self._live.start()

    def stop(self) -> None:
        """Remove the display, for good or for a question."""
        self._live.stop()

    def set(self, host: str, text: str) -> None:
        """Show what a host is doing."""
        self._doing[host] = text
        self._redraw()

    def clear(self, host: str) -> None:
        """Show nothing of a host."""
        self._doing.pop(host, None)
        self._redraw()

    def _redraw(self) -> None:
        table = Table.grid(padding=(0, 2), expand=True)
        table.add_column(no_wrap=True, width=self._width)
        table.add_column(no_wrap=True, overflow="ellipsis", ratio=1, style="bright_black")
        for host, doing in sorted(self._doing.items()):
            table.add_row(Text(host), Text(clean_line(doing)))
        self._live.update(table)

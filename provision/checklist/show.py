"""A checklist in the terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.text import Text

from provision.checklist.checklist import Checklist, Entry, describe_board
from provision.output.tables import Grid

BOXES = {"ok": "[x]", "to do": "[ ]", "open": "[?]"}
COLOURS = {"ok": "green", "to do": "yellow", "open": "dim"}
BOX = 3  # columns


def print_checklist(made: Checklist, console: Console, everything: bool) -> None:
    """Print it. everything: explain completed items, too."""
    case = made.case
    console.print(case.name, style="bold")
    named = ", ".join(f"{count} x {name}" for name, count in _count_cards(made).items())
    board = case.board_name or "an unknown board"
    processor = case.cpu_name or "an unknown processor"
    head = Grid(console)
    head.add_row(f"{board}; {processor}; {named or 'no GPU'}")
    for line in describe_board(case):
        head.add_row(line, style="dim")
    if made.news:
        head.add_row(made.news)
    head.print()
    for group, entries in made.groups:
        console.print()
        console.print(f"  {group}", style="bold")
        grid = Grid(console, BOX)
        for entry in entries:
            grid.add_row(Text(BOXES[entry.status], COLOURS[entry.status]), _title(entry))
            for line in _explanation(entry, everything):
                grid.add_row("", line, style="dim")
        grid.print()
    counts = made.counts
    console.print()
    console.print(f"  {counts['ok']} done, {counts['to do']} to do, {counts['open']} open")


def _title(entry: Entry) -> str:
    by = {"seen": f" (seen: {entry.reading})", "answered": " (by your answer)", "": ""}[entry.by]
    return f"{entry.title}{by}"


def _explanation(entry: Entry, everything: bool) -> Iterator[str]:
    """Yield how to do an item, and with `everything` why."""
    if entry.status == "ok" and not everything:
        return
    if entry.status == "open" and entry.reading:
        yield entry.reading
    yield entry.how
    if entry.words:
        yield f"In the BIOS look for: {', '.join(entry.words)}."
    if everything:
        yield f"Why: {entry.why} ({entry.source}, confidence {entry.confidence})."


def _count_cards(made: Checklist) -> dict[str, int]:
    names = [card.name for card in made.case.cards]
    return {name: names.count(name) for name in dict.fromkeys(names)}

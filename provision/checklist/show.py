"""A checklist in the terminal."""

from __future__ import annotations

from rich.console import Console

from provision.checklist.checklist import Checklist, Entry, about
from provision.output.wrapping import wrap_lines

BOXES = {"ok": "[x]", "to do": "[ ]", "open": "[?]"}
COLOURS = {"ok": "green", "to do": "yellow", "open": "dim"}
MARGIN = 6


def print_checklist(made: Checklist, console: Console, everything: bool) -> None:
    """Print it. everything: how and why of what is done, too."""
    case = made.case
    console.print(case.name, style="bold")
    named = ", ".join(f"{count} x {name}" for name, count in _counted(made).items())
    board = case.board_name or "an unknown board"
    processor = case.cpu_name or "an unknown processor"
    _lines(console, f"{board}; {processor}; {named or 'no GPU'}", 2)
    for line in about(case):
        _lines(console, line, 2, style="dim")
    if made.news:
        _lines(console, made.news, 2)
    for group, entries in made.groups:
        console.print()
        console.print(f"  {group}", style="bold")
        for entry in entries:
            _entry(console, entry, everything)
    counts = made.counts
    console.print()
    console.print(f"  {counts['ok']} done, {counts['to do']} to do, {counts['open']} open")


def _entry(console: Console, entry: Entry, everything: bool) -> None:
    console.print(f"  {BOXES[entry.status]} ", end="", style=COLOURS[entry.status])
    by = {"seen": f" (seen: {entry.reading})", "answered": " (by your answer)", "": ""}[entry.by]
    first, *rest = wrap_lines(f"{entry.title}{by}", console, MARGIN)
    console.print(first)
    for line in rest:
        console.print(f"{' ' * MARGIN}{line}")
    if entry.status == "ok" and not everything:
        return
    if entry.status == "open" and entry.reading:
        _lines(console, entry.reading, MARGIN, style="dim")
    _lines(console, entry.how, MARGIN, style="dim")
    if entry.words:
        _lines(console, f"In the BIOS look for: {', '.join(entry.words)}.", MARGIN, style="dim")
    if everything:
        reason = f"Why: {entry.why} ({entry.source}, confidence {entry.confidence})."
        _lines(console, reason, MARGIN, style="dim")


def _counted(made: Checklist) -> dict[str, int]:
    names = [card.name for card in made.case.cards]
    return {name: names.count(name) for name in dict.fromkeys(names)}


def _lines(console: Console, text: str, margin: int, style: str = "") -> None:
    for line in wrap_lines(text, console, margin):
        console.print(f"{' ' * margin}{line}", style=style)

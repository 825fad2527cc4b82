"""What `fab upgrade` prints at its end: how each rig ended, why, and what to do next."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from provision.errors import ExitStatus, shown_path
from provision.output.tables import Grid
from provision.upgrade.outcome import UpgradeEnding, UpgradeOutcome

STYLES = {ExitStatus.OK: "green", ExitStatus.FINDINGS: "yellow"}  # all others: red
LABEL = 16  # columns


def show_outcomes(
    outcomes: Sequence[UpgradeOutcome], left: Sequence[str], folder: Path, console: Console
) -> None:
    """Print one block a rig. left: rigs that were not begun."""
    console.print()
    for outcome in outcomes:
        _show_outcome(outcome, folder, console)
    if left:
        console.print(
            f"Not begun, since {outcomes[-1].host} comes first: {', '.join(left)}.", soft_wrap=True
        )


def _show_outcome(outcome: UpgradeOutcome, folder: Path, console: Console) -> None:
    heading = Text(f"{outcome.host}: ", style="bold")
    heading.append(outcome.ending.value, STYLES.get(outcome.ending.exit_status, "red"))
    console.print(heading)
    grid = Grid(console, LABEL)
    for change in outcome.plan.changes if outcome.plan else ():
        grid.add_row(change.what, f"{change.before or 'none'} -> {change.after}")
    rows = (
        ("because", outcome.reasons),
        ("worse", outcome.worse),
        ("still worse", outcome.still_worse),
    )
    for label, lines in rows:
        for number, line in enumerate(lines):
            grid.add_row(label if number == 0 else "", line)
    for name in outcome.reports:
        grid.add_row(name, shown_path(str(folder / name / outcome.host / "report.html")))
    if advice := _advise(outcome):
        grid.add_row("next", advice)
    grid.print()


def _advise(outcome: UpgradeOutcome) -> str:
    """Return what to do next; empty where there is nothing."""
    name, settings = outcome.host, outcome.plan.settings if outcome.plan else {}
    if outcome.ending is UpgradeEnding.UPGRADED and "torch_requirement" in settings:
        return (
            f"write torch_requirement: {settings['torch_requirement']} for this rig into the "
            "inventory; else the next fab provision installs deeprig's own version again"
        )
    if outcome.ending is UpgradeEnding.STUCK:
        return f"on the rig, /var/lib/deeprig/upgrade/log; then fab provision -H {name}"
    if outcome.ending is UpgradeEnding.WENT_BACK and not outcome.worse:
        return f"fix the reason, then fab upgrade -H {name} again"
    if outcome.ending is UpgradeEnding.LOST:
        return (
            "look at its screen or power; as soon as it boots, its guard takes the upgrade back. "
            f"Then fab upgrade -H {name} again"
        )
    return ""

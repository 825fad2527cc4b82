"""What `fab reinstall` prints: what would be done or was done, and the next step."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from provision.output.tables import Grid
from provision.reinstall.one_rig import ReinstallEnding, ReinstallOutcome
from provision.reinstall.plan import ReinstallPlan
from provision.reinstall.survey import ReinstallSurvey

LABEL = 12  # columns
GB = 1e9
NEXT = {
    ReinstallEnding.PLANNED: "fab reinstall -H {host}",
    ReinstallEnding.INSTALLED: "fab provision -H {host}; later fab reinstall -H {host} --commit "
    "frees the old system's room, or --undo goes back to it",
    ReinstallEnding.UNDONE: "fab reinstall -H {host} tries again",
    ReinstallEnding.COMMITTED: "fab provision -H {host}",
    ReinstallEnding.FELL_BACK: "nothing is lost: correct it, then fab reinstall -H {host}",
}


def show_outcome(console: Console, host: str, outcome: ReinstallOutcome, is_check: bool) -> None:
    """Print one rig's outcome."""
    console.print(f"{host}: {outcome.ending.value}", style="bold")
    if outcome.plan is not None and outcome.ending in (
        ReinstallEnding.PLANNED,
        ReinstallEnding.REFUSED,
    ):
        _show_plan(console, outcome.plan)
    else:
        grid = Grid(console, LABEL)
        grid.add_row("runs", _describe_running(outcome.survey))
        grid.add_row("default", outcome.survey.default or "the old system")
        grid.print()
    for reason in outcome.reasons:
        console.print(f"  {reason}")
    if (text := NEXT.get(outcome.ending)) and not (
        is_check and outcome.ending != ReinstallEnding.PLANNED
    ):
        console.print(f"  next: {text.format(host=host)}")


def _describe_running(survey: ReinstallSurvey) -> str:
    where = f", in {survey.running}" if survey.running else ""
    return f"{survey.system}, Linux {survey.kernel}{where}"


def _show_plan(console: Console, plan: ReinstallPlan) -> None:
    survey = plan.survey
    grid = Grid(console, LABEL)
    grid.add_row("now", _describe_running(survey))
    grid.add_row("new", f"{plan.system.name}, in the folder {plan.tree} of the same file system")
    disks = ", ".join(name for name, kind in survey.layers if kind == "disk")
    grid.add_row("disk", f"{disks or survey.device}, {survey.file_system}")
    grid.add_row("room", f"{survey.room / GB:.1f} GB free, {plan.needed_bytes / GB:.1f} GB needed")
    grid.add_row("boot", f"GRUB {survey.grub}, {survey.firmware.upper()}")
    names = ", ".join(f"{interface.name} ({interface.mac})" for interface in survey.interfaces)
    grid.add_row("network", f"as now: {names or 'unknown'}")
    grid.add_row("time", "5 to 15 min; the rig is away for two boots at most")
    grid.add_row("back", "by itself if the trial boot fails; later fab reinstall --undo")
    grid.print()


def make_document(outcome: ReinstallOutcome) -> dict[str, Any]:
    """Return an outcome as JSON has it."""
    survey = outcome.survey
    return {
        "ending": outcome.ending.name.lower(),
        "system": survey.system,
        "kernel": survey.kernel,
        "running": survey.running,
        "default": survey.default,
        "tree": outcome.plan.tree if outcome.plan else "",
        "needed_bytes": outcome.plan.needed_bytes if outcome.plan else 0,
        "room_bytes": survey.room,
        "reasons": list(outcome.reasons),
    }

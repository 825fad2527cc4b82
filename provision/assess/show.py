"""An assessment in the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from provision.assess.assessment import Assessment
from provision.assess.finding import Finding, merge_findings
from provision.hardware.power import Budget
from provision.output.tables import Grid, print_pairs

COLOURS = {"critical": "red", "warning": "yellow", "unknown": "dim", "note": "", "ok": ""}
LABEL, STATUS = 10, 9  # columns


def show_assessment(assessment: Assessment, console: Console, everything: bool) -> None:
    """Print it. everything: also what is in order."""
    console.print(assessment.name, style="bold")
    print_pairs(console, assessment.rows, LABEL)
    if not assessment.as_root:
        console.print(
            "  Not seen as root: other users' keys and crontabs, sudo's rules.",
            style="yellow",
            markup=False,
        )
    _title(console, "PCIe")
    for line in assessment.tree:
        console.print(f"  {line}")
    _title(console, "Signs of hard use")
    _findings(console, assessment.wear, everything)
    _title(console, "Who can get in, and what runs by itself")
    _findings(console, assessment.security, everything)
    _title(console, "What fab provision repairs first, or waits for")
    _findings(console, assessment.repairs, everything)
    _title(console, "Power")
    for budget in assessment.budgets:
        console.print(f"  {power_line(budget)}")
    if not assessment.budgets:
        console.print("  the GPUs' limits are not known")
    elif not assessment.budgets[0].supplies:
        console.print("  Power supplies unknown: set psus: [750, 750] in the inventory.")
    _verdict(console, assessment)


def power_line(budget: Budget) -> str:
    """Return a budget in a line: what is asked for, and what each supply has of it."""
    asked = f"{budget.name}: {budget.watts:.0f} W"
    shares = "; ".join(
        f"PSU {at + 1} of {supply.rated:.0f} W carries {supply.used:.0f} of {supply.usable:.0f} W"
        f"{'' if supply.carries else ', TOO MUCH'}"
        for at, supply in enumerate(budget.supplies)
    )
    return f"{asked}; {shares}" if shares else asked


def _verdict(console: Console, assessment: Assessment) -> None:
    _title(console, "Verdict")
    grid = Grid(console, LABEL)
    for label, what, reasons in (
        ("system", assessment.verdict.system, assessment.verdict.system_why),
        ("board", assessment.verdict.board, assessment.verdict.board_why),
    ):
        grid.add_row(Text(label, "bold"), what, style="bold")
        for reason in reasons:
            grid.add_row("", reason, style="dim")
    for at, option in enumerate(assessment.verdict.options):
        lanes = f"{option.lanes:>3}  {option.name}: {', '.join(option.links)}"
        grid.add_row("" if at else "lanes", lanes)
        if option.how:
            grid.add_row("", option.how, style="dim", margin=5)
    grid.print()


def _findings(console: Console, findings: Sequence[Finding], everything: bool) -> None:
    shown = [finding for finding in findings if everything or finding.status != "ok"]
    advised: set[str] = set()  # the same advice is given once
    grid = Grid(console, STATUS)
    for finding in merge_findings(shown):
        text = f"{finding.check}, {finding.subject}: {finding.reading}"
        grid.add_row(Text(finding.status, COLOURS[finding.status]), text)
        if finding.advice not in {"", *advised} and finding.status in (
            "critical",
            "warning",
            "unknown",
        ):
            advised.add(finding.advice)
            grid.add_row("", finding.advice, style="dim", margin=2)
    grid.print()
    good = len(findings) - len(shown)
    if good or not findings:
        more = f"{good} more in order" if shown else f"{good} in order"
        summary = more if good else "nothing found"
        console.print(f"  {summary}", style="dim")


def _title(console: Console, text: str) -> None:
    console.print()
    console.print(f"  {text}", style="bold")

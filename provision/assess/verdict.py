"""What to do with a rig: convert it in place, reinstall it, keep or replace the board."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, TypedDict

from provision.assess.finding import Finding, merge_findings
from provision.discovery.plan import Refusal
from provision.inventory import yaml_source
from provision.performance.links import Link
from provision.performance.machine import Machine
from provision.performance.recommend import Recommendation, changes, splits_for_sure

TABLE = Path(__file__).parent / "verdict.yml"
System = Literal["converted", "convert in place", "fix, then convert in place", "reinstall"]
Board = Literal[
    "keep", "keep, with other risers", "keep, if its BIOS splits the slot", "replace", "unknown"
]


class VerdictTable(TypedDict):
    """verdict.yml: names of refusals and checks, and lanes."""

    reinstall: list[str]
    intrusion: list[str]
    fix: list[str]
    lanes_least: int


@dataclass(frozen=True)
class LaneOption:
    """A way to more lanes. links: of each GPU then; lanes: of all of them together."""

    name: str
    title: str
    how: str
    links: tuple[str, ...]
    lanes: int


@dataclass(frozen=True)
class RigVerdict:
    """system and board, each with its reasons. options: the rig as it is first, then ways on."""

    system: System
    system_why: tuple[str, ...]
    board: Board
    board_why: tuple[str, ...]
    options: tuple[LaneOption, ...]

    def document(self) -> dict[str, object]:
        """As JSON has it."""
        return asdict(self)


def judge_rig(
    refusals: Sequence[Refusal],
    findings: Sequence[Finding],
    machine: Machine | None,
    converted: bool = False,
) -> RigVerdict:
    """Return the verdict. findings: of security and of wear.

    machine: the rig as predictions see it, None where they can't. converted: whether it is a deep
    learning host already.
    """
    table: VerdictTable = yaml_source.load_yaml(TABLE)
    system, why = _system(refusals, findings, table)
    if system == "convert in place" and converted:
        system, why = "converted", ["no mining system, no miner: fab validate proves the rest"]
        why += [
            f"{finding.reading}, {finding.subject}: {finding.advice}"
            for finding in merge_findings(
                [finding for finding in findings if finding.check == "earlier takeover"]
            )
        ]
    board, board_why, options = _board(machine, table["lanes_least"])
    return RigVerdict(system, tuple(why), board, tuple(board_why), tuple(options))


def _system(
    refusals: Sequence[Refusal], findings: Sequence[Finding], table: VerdictTable
) -> tuple[System, list[str]]:
    critical = [finding for finding in findings if finding.status == "critical"]
    intruded = [finding for finding in critical if finding.check in table["intrusion"]]
    reinstall_reasons = [
        refusal.why
        for refusal in refusals
        # The findings below are the same in more words.
        if refusal.name in table["reinstall"] and not (intruded and refusal.name == "taken-over")
    ]
    if intruded:
        reinstall_reasons.append("another person had root access, so no file on it can be trusted:")
        reinstall_reasons += [
            f"{finding.subject}: {finding.reading}" for finding in merge_findings(intruded)
        ]
    if reinstall_reasons:
        return "reinstall", reinstall_reasons
    hurt = [finding for finding in critical if finding.check in table["fix"]]
    mend = [refusal.why for refusal in refusals]
    mend += [
        f"{finding.check}, {finding.subject}: {finding.reading}" for finding in merge_findings(hurt)
    ]
    if mend:
        return "fix, then convert in place", mend
    return "convert in place", ["ready: run fab provision"]


def _board(machine: Machine | None, least: int) -> tuple[Board, list[str], list[LaneOption]]:
    if machine is None:
        return "unknown", ["no GPU that is known is on the bus"], []
    ways = [
        change for change in changes(machine) if change.name in ("riser", "bifurcation", "board")
    ]
    now = LaneOption("now", "as it is", "", _describe_links(machine.links), _lanes(machine.links))
    options = [now, *(_option(change) for change in ways)]
    narrowest = min(link.width for link in machine.links)
    links = f"the narrowest GPU has x{narrowest}"
    if narrowest >= least or len(machine.cards) == 1:
        return (
            "keep",
            [f"{links}: enough to begin with; fab advise shows for which workloads"],
            options,
        )
    if machine.board is not None and machine.board.replace:
        reason = f"{links}; {machine.board.replace} ({machine.board.source})"
        return "replace", [reason], options
    here = [
        change
        for change in ways
        if change.name != "board" and min(link.width for link in change.rig.links) >= least
    ]
    if here:
        best = max(here, key=lambda change: _lanes(change.rig.links))
        why = [f"{links}, and this board can give more: {best.title} ({best.how})"]
        if best.name == "bifurcation" and not splits_for_sure(machine):
            why.append("until that is seen to work, count on another board")
            return "keep, if its BIOS splits the slot", why, options
        return "keep, with other risers", why, options
    why = [f"{links}, and no way to x{least} for all {len(machine.cards)} GPUs is known on it"]
    return "replace", why, options


def _option(change: Recommendation) -> LaneOption:
    links = change.rig.links
    return LaneOption(change.name, change.title, change.how, _describe_links(links), _lanes(links))


def _describe_links(links: Sequence[Link]) -> tuple[str, ...]:
    return tuple(str(link) for link in links)


def _lanes(links: Sequence[Link]) -> int:
    return sum(link.width for link in links)

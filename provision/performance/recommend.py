"""Which change buys most: every candidate is predicted again on the rig as it would then be."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from provision.hardware import boards, chipsets, cpus
from provision.performance.candidates import Candidate
from provision.performance.layout import FORMS
from provision.performance.links import Link
from provision.performance.machine import Machine
from provision.performance.precision import TASKS
from provision.performance.predict import predict

#: One slot's, and with some processors an M.2's: more lanes are of several slots.
DESKTOP_LANES = 20
WORTH = 1.02  # the smallest gain that is reported: less is within the error of a prediction


@dataclass(frozen=True)
class Recommendation:
    """A recommendation. how: what it takes, and the source; rig: the rig afterwards."""

    name: str
    title: str
    how: str
    rig: Machine


@dataclass(frozen=True)
class Advice:
    """A change, and what it buys: gains as factors of tokens per second.

    fastest: of the fastest form of each task, before and after (geometric mean). most: the largest
    gain of one candidate, which `most_of` names.
    """

    change: Recommendation
    fastest: float
    most: float
    most_of: str


def advise(rig: Machine, wanted: Sequence[Candidate]) -> list[Advice]:
    """Changes worth their while, best first."""
    advice = []
    for change in changes(rig):
        before = _speeds(wanted, rig, rig)
        after = _speeds(wanted, change.rig, rig)
        if not before:
            continue
        gains = [new / old for old, new in zip(before, after, strict=True)]
        best = max(range(len(gains)), key=lambda at: gains[at])
        if gains[best] < WORTH:
            continue
        candidate = wanted[best]
        model, form = candidate.model, FORMS[candidate.layout.form]
        name = f"{model.title or model.name}, {TASKS[candidate.task]}, {form}"
        advice.append(Advice(change, _fastest(wanted, before, after), gains[best], name))
    # Of equals, the cheaper first.
    return sorted(advice, key=lambda entry: -round(entry.fastest, 2))


def _speeds(wanted: Sequence[Candidate], rig: Machine, now: Machine) -> list[float]:
    return [predict(candidate, rig, now).tokens_per_second for candidate in wanted]


def _fastest(wanted: Sequence[Candidate], before: Sequence[float], after: Sequence[float]) -> float:
    """Return the mean over (model, task) of what the fastest form gains."""
    best: dict[tuple[str, str], list[float]] = {}
    for candidate, old, new in zip(wanted, before, after, strict=True):
        pair = best.setdefault((candidate.model.name, candidate.task), [0.0, 0.0])
        pair[0], pair[1] = max(pair[0], old), max(pair[1], new)
    return _mean([new / old for old, new in best.values()])


def _mean(values: Sequence[float]) -> float:
    return math.exp(sum(math.log(value) for value in values) / len(values))


def changes(rig: Machine) -> Iterator[Recommendation]:
    """Yield possible changes of a rig, the cheapest first."""
    makers: tuple[Callable[[Machine], Iterator[Recommendation]], ...] = (
        _risers,
        _split,
        _platform,
        _power,
    )
    for maker in makers:
        yield from maker(rig)


def _risers(rig: Machine) -> Iterator[Recommendation]:
    """Wider risers for GPUs whose slot has more lanes than reach them."""
    narrow = [
        at
        for at, (link, port) in enumerate(zip(rig.links, rig.ports, strict=False))
        if port.width > link.width and port.bandwidth > link.bandwidth
    ]
    if not narrow:
        return
    links = [rig.ports[at] if at in narrow else link for at, link in enumerate(rig.links)]
    which = ", ".join(f"GPU {at} {rig.ports[at]}" for at in narrow)
    yield Recommendation(
        "riser",
        f"A riser of as many lanes as the slot has: {which}",
        "the ports above them can be wider than the links are (`fab facts --json`)",
        rig.with_links(links),
    )


def _split(rig: Machine) -> Iterator[Recommendation]:
    """Yield the processor's slots, divided among the GPUs (bifurcation), with risers as wide."""
    count = len(rig.cards)
    if count < 2:
        return
    least = min(rig.links, key=lambda link: link.bandwidth)
    width, how = _part(rig, count)
    link = Link(rig.generation, width) if width else None
    if link is None or link.bandwidth <= least.bandwidth or width <= least.width:
        return  # no more lanes: a better riser alone is another kind of change
    links = [link if present.bandwidth < link.bandwidth else present for present in rig.links]
    if sum(present.width for present in links) > (rig.cpu.lanes if rig.cpu else 16):
        links = [link] * count  # the lanes come from the wide slot
    if_it_can = "" if splits_for_sure(rig) else ", if its BIOS can"
    yield Recommendation(
        "bifurcation",
        f"Split the processor's slot{if_it_can}: every GPU on {link}, by a riser of as many lanes",
        how,
        rig.with_links(links),
    )


def splits_for_sure(rig: Machine) -> bool:
    """Return whether a source better than a claim confirms this split of the slot."""
    board, count = rig.board, len(rig.cards)
    if board is None or board.confidence == "C":
        return False
    return board.width(count) > 0 or any(len(split) >= count for split in board.splits)


def _part(rig: Machine, count: int) -> tuple[int, str]:
    """Return the lanes of each part of the processor's slots, and the source; 0 where impossible.

    The board's own row decides first, then its chipset's rule: where a vendor documents how a
    desktop's one slot splits, the processor alone is not enough.
    """
    board, cpu = rig.board, rig.cpu
    if board and board.width(count):
        return board.width(count), f"{board.source} (confidence {board.confidence})"
    if cpu is None:
        return 0, ""
    ways: Sequence[Sequence[int]] = cpu.splits
    how = "the processor can; see the board's BIOS or manual"
    rule = chipsets.chipset(board.chipset if board and board.chipset else rig.board_name)
    if board and board.splits and cpu.lanes <= DESKTOP_LANES:
        ways = board.splits
        how = f"{board.source} (confidence {board.confidence})"
    elif rule and rule.splits and rule.confidence == "A":
        ways = [split for split in ways if split in rule.splits]
        how = f"at most, by its chipset ({rule.name}); see the board's manual"
    elif rule and rule.splits:
        how = f"the processor can; of its chipset: {rule.rule}"
    parts = (sorted(split, reverse=True)[count - 1] for split in ways if len(split) >= count)
    return max(parts, default=0), how


def _platform(rig: Machine) -> Iterator[Recommendation]:
    """Another board and processor, whose lanes are enough for x8 each, or x4 for very many."""
    count = len(rig.cards)
    now = min(link.bandwidth for link in rig.links)
    ways = (
        (cpu, split)
        for least in (8, 4)
        for cpu in cpus.cpus()
        if _is_no_desktop(cpu.lanes)
        for split in (_divide_slots(slots, count, least) for slots in cpu.splits)
        if split
    )
    for cpu, split in ways:
        generation = min(cpu.generation, rig.fastest)
        links = [Link(generation, width) for width in split]
        if min(link.bandwidth for link in links) <= now * 2:
            continue
        widths = "/".join(f"x{width}" for width in split)
        if len(set(split)) == 1 and count > 4:
            widths = f"x{split[0]} for each of {count}"
        yield Recommendation(
            "board",
            f"Another board: {cpu.socket} gives Gen{generation} {widths}",
            f"{cpu.memory} memory; the first row of inventory/hardware/cpus.yml that does"
            + _boards_of(cpu.socket),
            replace(rig.with_links(links), cpu=cpu),
        )
        return


def _boards_of(socket: str) -> str:
    """Return the boards of the table for a socket, as far as more than a claim is known of them."""
    names = [
        f"{board.vendor} {board.name}"
        for board in boards.boards()
        if board.socket == socket and board.confidence != "C" and not board.replace
    ]
    return f". Boards of that socket in boards.yml: {', '.join(names)}" if names else ""


def _divide_slots(slots: Sequence[int], count: int, least: int) -> tuple[int, ...]:
    """Slots for so many GPUs: one each, or divided alike; none where that is less than `least`.

    >>> _divide_slots((16, 8, 16, 8), 3, 8)
    (16, 8, 16)
    >>> _divide_slots((16, 16, 8), 4, 8), _divide_slots((16, 16, 8), 6, 4)
    ((8, 8, 8, 8), (4, 4, 4, 4, 4, 4))
    """
    if len(slots) >= count and min(slots[:count]) >= least:
        return tuple(slots[:count])
    return (least,) * count if sum(slot // least for slot in slots) >= count else ()


def _is_no_desktop(lanes: int) -> bool:
    return lanes >= 40  # fewer lanes are a desktop's, whose boards have no third wide slot


def _power(rig: Machine) -> Iterator[Recommendation]:
    """Yield the change from provisioning's power limit to the cards' default limit."""
    limited = [card for card in rig.cards if card.power_limit]
    if not limited:
        return
    card = limited[0]
    yield Recommendation(
        "power",
        f"All of the board power: {card.board_power:.0f} W instead of {card.power_limit:.0f} W",
        "the limit keeps 95 % of the speed, so at most this; check the power supply first",
        replace(rig, speed=1 / POWER_KEPT),
    )


POWER_KEPT = 0.95  # of the speed at the limit of gpus.yml (Puget Systems, RTX 3090 at 280 W)

"""The report as people read it: in columns, 80 wide, the same in a terminal and in a log."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from provision.advise.report import AdviceReport, ModelReport, Row
from provision.output.tables import print_table
from provision.output.wrapping import hanging, paragraph
from provision.performance.candidates import ONE_GPU, Candidate, gib
from provision.performance.layout import FORMS
from provision.performance.links import Link
from provision.performance.machine import Machine
from provision.performance.network import host_ceiling
from provision.performance.precision import TASKS
from provision.performance.prediction import Prediction

LABEL = 27  # columns of a row's name
NARROW = (1, 4, 8)  # widths whose loss is shown; x16 is what they are compared with


def show_report(report: AdviceReport, console: Console, details: bool) -> None:
    """Print all of it. `details`: the other generations of PCIe, too."""
    _print(console, _rig(report.rig))
    for model in report.models:
        console.print()
        _print(console, _model(report, model, details))
    console.print()
    _print(console, _advice(report))


def _print(console: Console, parts: Iterable[Text | Table]) -> None:
    for part in parts:
        if isinstance(part, Table):
            print_table(console, part)
        else:
            console.print(part)


def number(value: float) -> str:
    """At most four digits before a unit, three that mean something.

    >>> [number(one) for one in (0.513, 45.9, 866.0, 12631.0)]
    ['0.51', '45.9', '866', '12.6k']
    """
    for most, divisor, unit in ((10, 1, ""), (100, 1, ""), (1e4, 1, ""), (1e7, 1e3, "k")):
        if value < most:
            digits = 2 if value < 10 else 1 if value < 100 or unit else 0
            return f"{value / divisor:.{digits}f}{unit}"
    return f"{value / 1e6:.1f}M"


def loss(share: float) -> str:
    """Return a loss in percent, as a change; nothing where there is none to speak of.

    >>> [loss(one) for one in (0.73, 0.004, -0.2)]
    ['-73 %', '0', '+20 %']
    """
    percent = round(-share * 100)
    return f"{percent:+d} %" if percent else "0"


def name_of(candidate: Candidate) -> str:
    """Return a row's name: task, form, and the number of GPUs where not all are used."""
    form = FORMS[candidate.layout.form]
    if candidate.layout.form in ("tensor", "sequence"):
        form = f"{form} {candidate.layout.tensor}"
    return f"{TASKS[candidate.task]}, {form}"


def _rig(rig: Machine) -> Iterator[Text]:
    count = Counter(f"{card.name}, {gib(card.memory_bytes)} GiB" for card in rig.cards)
    gpus = "; ".join(f"{number} x {name}" for name, number in count.items())
    if rig.name:
        yield Text(rig.name, style="bold")
    yield Text(f"  GPUs     {gpus}")
    board = rig.board_name or "unknown"
    yield Text(f"  board    {board}" + ("" if rig.board or not rig.board_name else " (no row)"))
    cpu = rig.cpu_name or "unknown"
    memory = f", memory {rig.cpu.memory}" if rig.cpu else ", memory taken for 2 x DDR4-3200"
    yield Text(f"  CPU      {cpu}{memory}")
    yield from _links(rig.links)
    if len(rig.links) > 1 and not rig.p2p:
        most = host_ceiling(rig.host_memory, len(rig.links)) / 1e9
        yield from hanging(
            "  host     ",
            f"at most {most:.2f} GB/s among {len(rig.links)} GPUs, all memory channels filled: "
            "without P2P every byte passes its memory twice",
            indent=11,
        )
    for note in rig.notes:
        yield from hanging("  note     ", note, indent=11)
    if rig.measured:
        yield from paragraph(f"measured {rig.measured.title}", 2)
        for note in rig.measured.notes:
            yield from paragraph(note, 4, "yellow")
    else:
        yield Text("  numbers  derived: nothing was measured on this rig (--explain: sources)")


def _links(links: Sequence[Link]) -> Iterator[Text]:
    """Yield a line for each run of GPUs on alike links."""
    first = 0
    for link, alike in itertools.groupby(links):
        last = first + len(list(alike)) - 1
        gpus = f"GPU {first}" if first == last else f"GPU {first}-{last}"
        label = "" if first else "links"
        yield Text(f"  {label:<8} {gpus}: {link}, {link.bandwidth / 1e9:.2f} GB/s")
        first = last + 1


def _model(
    report: AdviceReport, model_report: ModelReport, details: bool
) -> Iterator[Text | Table]:
    model = model_report.model
    title = Text(model.title or model.name, style="bold")
    load = next((row.candidate.load for row in model_report.rows), None)
    facts = f"  {model.total / 1e9:.3g} B parameters, {report.precision}"
    if load:
        facts += f", sequences of {load.sequence}"
        facts += f", {len(report.rig.cards) * report.work.batch * report.work.accumulate} a step"
    yield title.append(facts, style="not bold")
    if load and load.sequence < report.work.sequence:
        yield Text(f"  its context is {load.sequence}: no sequences of {report.work.sequence}")
    fitting = [row for row in model_report.rows if row.now]
    if fitting:
        generation = report.generations[0]
        yield Text()
        shown = [row for row in fitting if details or row.candidate.layout.form != "sequence"]
        yield _speeds(shown, _fastest(fitting), generation)
        yield from _bounds(fitting, generation)
    for row in model_report.rows:
        if row.candidate.fits and row.now is None and row.candidate.memory:
            yield Text(f"  fits: {name_of(row.candidate)}, {gib(row.candidate.memory.total)} GiB")
    yield from _unfit(model_report)
    for instead in model_report.instead:
        mark = "can do" if instead.works else "cannot"
        yield from hanging(f"  {mark}  {instead.what}: ", instead.how)
    if details and fitting:
        yield from _generations(report, fitting)


def _fastest(rows: Sequence[Row]) -> list[Row]:
    """Return the fastest row of each task, now."""
    best: dict[str, Row] = {}
    for row in rows:
        other = best.get(row.candidate.task)
        if row.now and (
            not (other and other.now) or row.now.tokens_per_second > other.now.tokens_per_second
        ):
            best[row.candidate.task] = row
    return list(best.values())


def _speeds(rows: Sequence[Row], fastest: Sequence[Row], generation: int) -> Table:
    """Return the table of what fits: memory, tokens/s now, losses by width, tokens/s at x16."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bright_black")
    table.add_column("\n", width=LABEL, no_wrap=True)
    table.add_column("GiB\na GPU", justify="right")
    table.add_column("tokens/s\nnow", justify="right")
    table.add_column("loss\nnow", justify="right")
    for width in NARROW:
        table.add_column(f"\nx{width}", justify="right", width=6)
    table.add_column("tokens/s\nx16", justify="right")
    for row in rows:
        mark = "* " if row in fastest else "  "
        memory = gib(row.candidate.memory.total) if row.candidate.memory else ""
        table.add_row(
            *_cells(row, generation, mark + name_of(row.candidate), memory, prefill=False)
        )
        if row.now and row.now.prefill and row.candidate.layout.form != "single":
            table.add_row(*_cells(row, generation, "    its prompts", "", prefill=True))
    return table


def _cells(row: Row, generation: int, label: str, memory: str, prefill: bool) -> list[Text]:
    """Return a row's cells; one GPU alone has no losses."""
    assert row.now is not None

    def speed(prediction: Prediction) -> float:
        return (prediction.prefill or 0.0) if prefill else prediction.tokens_per_second

    cells = [Text(label), Text(memory), Text(number(speed(row.now)))]
    if row.candidate.layout.form == "single":
        return cells
    losses = [
        row.loss_now(generation, prefill),
        *(row.loss(generation, width, prefill) for width in NARROW),
    ]
    return [*cells, *map(_loss, losses), Text(number(speed(row.grid[generation, 16])))]


def _loss(share: float) -> Text:
    style = "red" if share >= 0.3 else "yellow" if share >= 0.1 else ""
    return Text(loss(share), style)


def _bounds(rows: Sequence[Row], generation: int) -> Iterator[Text]:
    """Which rows are bound by what, now."""
    by: dict[str, list[str]] = {}
    for row in rows:
        if row.now and row.candidate.layout.form not in ("single", "sequence"):
            by.setdefault(row.now.bound_by, []).append(name_of(row.candidate))
    yield Text()
    yield Text(
        f"  * the fastest of its task now; losses on Gen{generation}, against x16", "bright_black"
    )
    for bound, names in by.items():
        yield from hanging("  bound by ", f"{bound}: {'; '.join(names)}")


def _unfit(model_report: ModelReport) -> Iterator[Text]:
    """Yield what does not fit: one line for a task without any form, else one for each form."""
    if any(row.candidate.reason == ONE_GPU for row in model_report.rows):
        yield Text(f"  {ONE_GPU}")
    for task, title in TASKS.items():
        rows = [row.candidate for row in model_report.rows if row.candidate.task == task]
        without = [row for row in rows if not row.fits and row.reason != ONE_GPU]
        if without and not any(row.fits for row in rows):
            short = [row for row in without if row.memory]
            least = min(short, key=lambda row: row.memory.total if row.memory else 0, default=None)
            reason = without[0].reason
            if least:
                reason = f"does not fit: {least.reason}, at least ({FORMS[least.layout.form]})"
            yield from hanging(f"  {title}: ", reason)
            continue
        reasons: dict[str, list[str]] = {}
        for row in without:
            reasons.setdefault(row.reason, []).append(FORMS[row.layout.form])
        for reason, forms in reasons.items():
            yield from hanging(f"  {title}, {', '.join(forms)}: ", reason)


def _generations(report: AdviceReport, rows: Sequence[Row]) -> Iterator[Text | Table]:
    """Yield tables of losses on the other generations of PCIe, two in a table."""
    others = report.generations[1:]
    shared = [row for row in rows if row.candidate.layout.form != "single"]
    for at in range(0, len(others) if shared else 0, 2):
        pair = others[at : at + 2]
        table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bright_black")
        table.add_column("  loss against x16 on", no_wrap=True)
        for generation in pair:
            table.add_column(f"Gen{generation} x1", justify="right", width=8)
            table.add_column("x4", justify="right", width=6)
            table.add_column("x8", justify="right", width=6)
            table.add_column("tok/s", justify="right", width=6)
        for row in shared:
            cells = [Text(f"  {name_of(row.candidate)}")]
            for generation in pair:
                cells += [_loss(row.loss(generation, width)) for width in NARROW]
                cells.append(Text(number(row.grid[generation, 16].tokens_per_second)))
            table.add_row(*cells)
        yield Text()
        yield table


def _advice(report: AdviceReport) -> Iterator[Text]:
    yield Text("What to change", style="bold")
    if not all(card.has_known_speed for card in report.rig.cards):
        yield Text("  nothing is counted without the cards' speed")
    elif not report.advice:
        none = "nothing: no change of links or power would be noticed with these models"
        if report.unknown:
            none = "nothing is known: no board of the table has lanes for so many GPUs"
        if len(report.rig.cards) < 2:
            none = "no change of links: there is one GPU, so nothing crosses them in a step"
        yield Text(f"  {none}")
    for place, advice in enumerate(report.advice, 1):
        yield from hanging(f"  {place}. ", advice.change.title, indent=5)
        fastest, most = f"x {advice.fastest:.2f}", f"x {advice.most:.2f}"
        gain = f"{fastest} for the fastest form of each task; at most {most} ({advice.most_of})"
        yield from paragraph(gain, 5)
        yield from paragraph(advice.change.how, 5, "bright_black")

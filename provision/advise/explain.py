"""The formula and the source of every number: `--explain` in words, `--json` as data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Final

from rich.console import Console
from rich.text import Text

from provision.advise.documents import AdviceDocument, CandidateDocument, TransferDocument
from provision.advise.report import AdviceReport, Row
from provision.advise.show import name_of, number
from provision.output.wrapping import hanging
from provision.performance import figures
from provision.performance.candidates import Candidate, gib
from provision.performance.prediction import Prediction
from provision.performance.traffic import Transfer

FORMAT: Final = "deeprig-advice"
VERSION: Final = 1


def show_explanation(report: AdviceReport, console: Console) -> None:
    """Print the derivation of each number, and then the constants."""
    for model in report.models:
        fitting = [row for row in model.rows if row.now]
        if not fitting:
            continue
        console.print()
        title = f"How the numbers of {model.model.title or model.model.name} came about"
        console.print(Text(title, style="bold"))
        for line in hanging("  the model: ", model.model.source or "from the command line"):
            console.print(line)
        for row in fitting:
            for line in _row(row):
                console.print(line)
    console.print()
    console.print(Text("Constants", style="bold"))
    for figure in figures.load().values():
        text = f"{figure.value:g} {figure.unit} ({figure.kind}): {figure.source}"
        for line in hanging(f"  {figure.name}: ", text):
            console.print(line)
    tables = "inventory/hardware/gpus.yml, cpus.yml, boards.yml and inventory/models/language.yml"
    for line in hanging("  tables: ", f"{tables}, each with its sources"):
        console.print(line)


def _row(row: Row) -> Iterator[Text]:
    candidate, now = row.candidate, row.now
    assert now is not None
    yield Text(f"  {name_of(candidate)}", style="cyan")
    for label, text in explanation_lines(candidate, now):
        yield from hanging(f"    {label}: ", text, indent=6)


def explanation_lines(candidate: Candidate, now: Prediction) -> Iterator[tuple[str, str]]:
    """(label, text) of each number of a prediction."""
    if candidate.memory:
        held = asdict(candidate.memory).items()
        parts = [f"{name} {gib(amount)}" for name, amount in held if amount >= 2**26]
        again = "; activations are computed again in backward" if candidate.recompute else ""
        total = f"{gib(candidate.memory.total)} GiB of {gib(candidate.usable)} usable"
        yield "memory", f"{' + '.join(parts)} = {total}{again}"
    yield "arithmetic", f"{now.rate / 1e12:.1f} TFLOP/s a GPU ({now.rate_from})"
    form = "serve" if candidate.task == "serve" else candidate.layout.form
    formula = figures.formulas()[form]
    yield "formula", f"{formula.text} ({formula.source})"
    for sent in now.transfers:
        cost = now.network.cost(sent.collective)
        seconds = now.network.seconds(sent.collective, sent.ranks, sent.size_bytes)
        yield (
            "sent",
            f"{sent.count:g} x {sent.collective} of {size(sent.size_bytes)} among {sent.ranks} "
            f"({sent.what}): {size(sent.sent)} a GPU; t = {cost.call * 1e6:.0f} us + "
            f"{cost.hop * 1e6:g} us a ring step + bytes / {cost.bandwidth / 1e9:.2f} GB/s = "
            f"{duration(seconds)} each "
            f"({cost.origin}: {cost.because})",
        )
    what = "token" if candidate.task == "serve" else "step"
    yield (
        what,
        f"{duration(now.step.compute)} of work, {duration(now.step.exposed)} more for messages and "
        f"waiting = {duration(now.step.seconds)}; {number(now.tokens_per_second)} tokens/s",
    )


def size(count: float) -> str:
    """Bytes with a binary unit.

    >>> size(26214400), size(8192)
    ('25.0 MiB', '8.0 KiB')
    """
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.2f} GiB"


def duration(seconds: float) -> str:
    """Seconds, or what of them is read more easily.

    >>> duration(0.0123), duration(2.4e-5), duration(78.31)
    ('12.3 ms', '24.0 us', '78.31 s')
    """
    if seconds >= 1 or seconds == 0:
        return f"{seconds:.2f} s"
    if seconds >= 1e-3:
        return f"{seconds * 1e3:.1f} ms"
    return f"{seconds * 1e6:.1f} us"


def document(report: AdviceReport) -> AdviceDocument:
    """Return all of a report for --json: bytes, seconds, bytes per second; losses are shares."""
    rig = report.rig
    return {
        "format": FORMAT,
        "version": VERSION,
        "rig": {
            "gpus": [card.name for card in rig.cards],
            "links": [
                {
                    "generation": link.generation,
                    "width": link.width,
                    "sharers": link.sharers,
                    "bandwidth_bytes_per_second": link.bandwidth,
                }
                for link in rig.links
            ],
            "board": rig.board_name,
            "cpu": rig.cpu_name,
            "measured": rig.measured.title if rig.measured else None,
            "notes": [*rig.notes, *(rig.measured.notes if rig.measured else ())],
        },
        "precision": report.precision,
        "generations": list(report.generations),
        "models": [
            {
                "model": model.model.name,
                "parameters": model.model.total,
                "candidates": [_candidate(row, report.generations) for row in model.rows],
                "instead": [asdict(way) for way in model.instead],
            }
            for model in report.models
        ],
        "advice": [
            {
                "change": advice.change.name,
                "title": advice.change.title,
                "how": advice.change.how,
                "gain_of_fastest": advice.fastest,
                "largest_gain": advice.most,
                "largest_gain_of": advice.most_of,
            }
            for advice in report.advice
        ],
    }


def _candidate(row: Row, generations: tuple[int, ...]) -> CandidateDocument:
    candidate, now = row.candidate, row.now
    head: CandidateDocument = {
        "task": candidate.task,
        "form": candidate.layout.form,
        "gpus": candidate.layout.gpus,
        "fits": candidate.fits,
        "reason": candidate.reason,
        "memory_bytes": asdict(candidate.memory) if candidate.memory else None,
        "usable_bytes": candidate.usable,
        "recompute": candidate.recompute,
    }
    if now is None:
        return head
    return {
        **head,
        "step_seconds": now.step.seconds,
        "compute_seconds": now.step.compute,
        "exposed_seconds": now.step.exposed,
        "tokens_per_second": now.tokens_per_second,
        "prefill_tokens_per_second": now.prefill,
        "bound_by": now.bound_by,
        "flops_per_second": now.rate,
        "flops_from": now.rate_from,
        "transfers": [_transfer(now, sent) for sent in now.transfers],
        "formula": asdict(
            figures.formulas()["serve" if candidate.task == "serve" else candidate.layout.form]
        ),
        "links": [
            {
                "generation": generation,
                "width": width,
                "tokens_per_second": there.tokens_per_second,
                "step_seconds": there.step.seconds,
                "prefill_tokens_per_second": there.prefill,
                "loss": row.loss(generation, width),
                "bound_by": there.bound_by,
            }
            for (generation, width), there in row.grid.items()
            if generation in generations
        ],
    }


def _transfer(now: Prediction, sent: Transfer) -> TransferDocument:
    cost = now.network.cost(sent.collective)
    return {
        "what": sent.what,
        "collective": sent.collective,
        "ranks": sent.ranks,
        "size_bytes": sent.size_bytes,
        "count": sent.count,
        "overlaps": sent.overlaps,
        "sent_bytes": sent.sent,
        "latency_seconds": cost.call,
        "ring_step_seconds": cost.hop,
        "bus_bandwidth_bytes_per_second": cost.bandwidth,
        "origin": cost.origin,
        "because": cost.because,
    }

"""`fab advise`: read the rigs, or their description on the command line, and show the report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invoke.exceptions import Exit

from provision.advise import explain, plot, report, rig_measurements, show
from provision.cli.answers import show_answers
from provision.errors import DeeprigError
from provision.hardware import cards, cpus
from provision.inventory import typed_rows
from provision.output.terminal import Terminal
from provision.performance import links, machine, measured, models
from provision.performance.candidates import Work
from provision.performance.machine import Machine
from provision.performance.models import LanguageModel
from provision.performance.precision import PRECISIONS

if TYPE_CHECKING:
    from provision.cli.flags import Flags
    from provision.cli.fleet import FleetContext

MOST = 100_000_000  # of anything that a flag counts
USUAL = "llama-3.2-3b,llama-2-7b,llama-2-70b,mixtral-8x7b"  # without --model


@dataclass(frozen=True)
class AdviseOptions:
    """The verb's own flags, as fabfile.py has them; `own_model`: sizes of the described model."""

    model: str
    precision: str
    work: Work
    own_model: dict[str, int]
    board: str
    cpu: str
    gpus: str
    links: str
    measured: str
    p2p: bool
    explain: bool
    plot: str


def advise(context: FleetContext, flags: Flags, wanted: AdviseOptions) -> None:
    """Print what is advised. Raises DeeprigError, and Exit when a rig could not be read."""
    if wanted.precision not in PRECISIONS:
        raise typed_rows.unknown_name_error("precision", wanted.precision, PRECISIONS)
    chosen = models_of(wanted)
    plot.check(wanted.plot)
    is_described = bool(wanted.gpus) and not (flags.H or context.patterns)
    if is_described:
        rigs: dict[str, Machine | DeeprigError] = {"": apply_options(None, wanted)}
    else:
        rigs = _read(context, flags, wanted)
    console = Terminal()
    documents = {}

    def show_one(name: str, rig: Machine) -> None:
        made = report.make_report(rig, chosen, wanted.precision, wanted.work)
        documents[name] = explain.document(made)
        if not flags.json:
            show.show_report(
                made, console, details=bool(wanted.model or wanted.own_model or flags.verbose)
            )
            if wanted.explain:
                explain.show_explanation(made, console)
        if wanted.plot:
            plot.plot_lanes(made, plot.path_for(wanted.plot, name if len(rigs) > 1 else ""))

    status = show_answers(rigs, show_one)
    if is_described and not documents:
        raise Exit(code=status)
    if flags.json:
        print(json.dumps(documents[""] if is_described else documents, indent=2))
    if status:
        raise Exit(code=status)


def models_of(wanted: AdviseOptions) -> list[LanguageModel]:
    """Return the models that are asked for: by name, by their numbers, or the usual ones."""
    table = models.load()
    if wanted.own_model:
        if wanted.model:
            raise DeeprigError(
                "--model names a model of the table, and other flags describe one",
                advice="Give --model, or --layers, --hidden and so on.",
            )
        return [model_of_sizes(wanted.own_model)]
    names = [name for name in (wanted.model or USUAL).split(",") if name.strip()]
    if not names:
        raise DeeprigError("--model names none", advice=f"One or more with commas: {USUAL}")
    return [models.find(name, table) for name in names]


def model_of_sizes(sizes: dict[str, int]) -> LanguageModel:
    """Return a model by its numbers; defaults are Llama-2's. Raises DeeprigError."""
    missing = [name for name in ("layers", "hidden") if not sizes.get(name)]
    if missing:
        flags = ", ".join(f"--{name}" for name in missing)
        raise DeeprigError(f"a model needs {flags}, too")
    heads = sizes.get("heads") or _usual_heads(sizes["hidden"])
    return LanguageModel(
        name="yours",
        title="Your model",
        layers=sizes["layers"],
        hidden=sizes["hidden"],
        heads=heads,
        kv_heads=sizes.get("kv_heads") or heads,
        feed_forward=sizes.get("feed_forward") or sizes["hidden"] * 8 // 3,
        vocabulary=sizes.get("vocabulary") or 32000,
        context=1 << 20,
        experts=sizes.get("experts", 0),
        top_k=sizes.get("top_k") or (2 if sizes.get("experts") else 0),
    )


def _usual_heads(hidden: int) -> int:
    """As many heads of 128 or somewhat more as share the hidden size.

    >>> _usual_heads(4096), _usual_heads(2000)
    (32, 10)
    """
    return next(heads for heads in range(max(hidden // 128, 1), 0, -1) if hidden % heads == 0)


def apply_options(rig: Machine | None, wanted: AdviseOptions) -> Machine:
    """Return a rig with the changes of the command line."""
    result = rig
    links_given = links.parse(wanted.links) if wanted.links else None
    if result is None:
        result = machine.from_words(wanted.gpus, wanted.links, wanted.board, wanted.cpu, wanted.p2p)
    elif wanted.gpus:
        result = machine.with_cards(
            result, cards.cards_named(wanted.gpus, cards.cards()), links_given
        )
    if rig is not None and (links_given or wanted.board or wanted.cpu):
        result = machine.with_hardware(
            result,
            links_given,
            wanted.board,
            cpus.cpu(wanted.cpu) if wanted.cpu else None,
            wanted.cpu,
        )
    if wanted.measured:
        result = machine.with_measured(result, measured.load(Path(wanted.measured)))
    return result


def _read(
    context: FleetContext, flags: Flags, wanted: AdviseOptions
) -> dict[str, Machine | DeeprigError]:
    _, hosts = context.fleet(flags)
    readings = rig_measurements.read_all(hosts, context.config, flags.accept_new, wanted.p2p)
    rigs: dict[str, Machine | DeeprigError] = {}
    for name, rig in readings.items():
        try:
            rigs[name] = rig if isinstance(rig, DeeprigError) else apply_options(rig, wanted)
        except DeeprigError as error:
            rigs[name] = error
    return rigs


def parse_options(given: Mapping[str, Any]) -> AdviseOptions:
    """Return the flags by name, as the command line has them."""
    own_model = {
        name: _count(name, given[name])
        for name in (
            "layers",
            "hidden",
            "heads",
            "kv_heads",
            "feed_forward",
            "vocabulary",
            "experts",
            "top_k",
        )
        if given[name]
    }
    work = Work(*(_count(field.name, given[field.name]) for field in fields(Work)))
    rest = {field.name: given[field.name] for field in fields(AdviseOptions) if field.name in given}
    return AdviseOptions(work=work, own_model=own_model, **rest)


def _count(name: str, text: str) -> int:
    """Return a number of one or more, as a flag has it. Raises DeeprigError."""
    if text.isascii() and text.isdigit() and 0 < int(text) <= MOST:
        return int(text)
    flag = name.replace("_", "-")
    raise DeeprigError(f"--{flag} {text}: a whole number is wanted, from 1 to {MOST:,}")

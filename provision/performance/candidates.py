"""What can be tried with a model on a rig: every task in every form, and why some can't be done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from provision.performance import memory, precision
from provision.performance.layout import Layout
from provision.performance.machine import Machine
from provision.performance.memory import Load, Memory
from provision.performance.models import LanguageModel

TRAINING = ("single", "ddp", "fsdp", "pipeline", "tensor", "sequence", "three_d", "expert")
ONE_GPU = "there is one GPU: nothing to share the model or the data among"
INSIDE = ("tensor", "sequence", "three_d", "expert")  # forms that divide a layer's matrices
NOTHING: Mapping[str, str] = {}
SERVING = ("single", "pipeline", "tensor", "expert")


@dataclass(frozen=True)
class Work:
    """What the operator wants. accumulate: microbatches a GPU and step; streams: served at once."""

    sequence: int
    batch: int = 1
    accumulate: int = 4
    streams: int = 1


@dataclass(frozen=True)
class Candidate:
    """A model, a task and a form. reason: why it can't run, empty when it can."""

    model: LanguageModel
    task: str
    precision: str
    layout: Layout
    load: Load
    recompute: bool = False
    memory: Memory | None = None
    usable: float = 0.0
    reason: str = ""

    @property
    def fits(self) -> bool:
        """Whether it can run."""
        return not self.reason


def find_candidates(
    model: LanguageModel, machine: Machine, wanted: str, work: Work
) -> list[Candidate]:
    """Return all candidates of a model, in the order of tasks and forms."""
    candidates = []
    for task in precision.TASKS:
        for form in SERVING if task == "serve" else TRAINING:
            candidates += list(_form(model, machine, task, form, wanted, work))
    return candidates


def _form(
    model: LanguageModel, machine: Machine, task: str, form: str, wanted: str, work: Work
) -> Iterator[Candidate]:
    gpus = len(machine.cards)
    if form == "expert" and not model.experts:
        return  # a dense model has none
    if form == "three_d" and gpus < 4:
        return
    layout, reason = lay_out(model, form, gpus, unsplittable_forms(task, wanted))
    load = load_of(task, layout, gpus, work)
    candidate = Candidate(model, task, wanted, layout, load)
    reason = precision.check(task, wanted) or reason
    if reason:
        yield replace(candidate, reason=reason)
        return
    yield fit_memory(candidate, machine)


def unsplittable_forms(task: str, wanted: str) -> dict[str, str]:
    """Forms that can't be of weights that are trained while quantized, and why."""
    bits = "4-bit" if task == "qlora" else "8-bit" if (task, wanted) == ("lora", "int8") else ""
    reason = f"bitsandbytes' {bits} weights are not split among GPUs"
    # FSDP flattens tensors of floating point alone: those of 4 bits are stored as such, not int8.
    whole = ("fsdp", *INSIDE) if bits == "8-bit" else INSIDE if bits else ()
    return dict.fromkeys(whole, reason)


def lay_out(
    model: LanguageModel, form: str, gpus: int, impossible: Mapping[str, str] = NOTHING
) -> tuple[Layout, str]:
    """Return the layout of a form on these GPUs, and why it is impossible (`impossible`)."""
    if form == "single":
        return Layout(form), ""
    if gpus < 2:
        return Layout(form), ONE_GPU
    if form in impossible:
        return Layout(form), impossible[form]
    if form in ("ddp", "fsdp"):
        return Layout(form, data=gpus, sharded=form == "fsdp"), ""
    if form == "pipeline":
        few = f"{model.layers} layers are fewer than {gpus} GPUs" if model.layers < gpus else ""
        return Layout(form, stages=gpus), few
    if form == "expert":
        held = min(gpus, model.experts)
        return Layout(form, data=held, expert=held), ""
    if form == "three_d":
        if gpus < 8 or not _splits(model, 2):
            return Layout(form), "needs 8 GPUs: 2 replicas x 2 stages x 2 tensor ranks"
        return Layout(form, data=gpus // 4, stages=2, tensor=2), ""
    degree = next((some for some in range(gpus, 1, -1) if _splits(model, some)), 0)
    if not degree:
        heads = f"{model.heads} heads and {model.kv_heads} kv_heads"
        return Layout(form), f"{heads} divide among no number of 2 to {gpus} GPUs"
    return Layout(form, tensor=degree), ""


def _splits(model: LanguageModel, ranks: int) -> bool:
    """Return whether tensor parallelism can divide the matrices evenly, as it must."""
    return all(number % ranks == 0 for number in (model.heads, model.kv_heads, model.feed_forward))


def load_of(task: str, layout: Layout, gpus: int, work: Work) -> Load:
    """Return the same sequences a step for every form: as many as all GPUs work on in DDP."""
    if task == "serve":
        return Load(work.sequence, work.streams)
    return Load(work.sequence, work.batch, -(-gpus * work.accumulate // layout.data))


def fit_memory(candidate: Candidate, machine: Machine) -> Candidate:
    """With its memory; in training, activations are computed again only where that is needed."""
    sizes = precision.bytes_per_parameter(candidate.task, candidate.precision)
    some = [machine.cards[at] for at in machine.best(candidate.layout.gpus)]
    room = memory.usable_bytes(min(card.memory_bytes for card in some))
    for recompute in (False,) if candidate.task == "serve" else (False, True):
        needs = memory.estimate_memory(
            candidate.model, candidate.task, sizes, candidate.layout, candidate.load, recompute
        )
        candidate = replace(candidate, memory=needs, recompute=recompute, usable=room)
        if needs.total <= room:
            return candidate
    digits = 1 if gib(needs.total) != gib(room) else 2
    short = f"needs {gib(needs.total, digits)} of {gib(room, digits)} GiB a GPU"
    return replace(candidate, reason=short)


def gib(count: float, digits: int = 1) -> str:
    """Bytes in GiB.

    >>> gib(24 * 2**30)
    '24.0'
    """
    return f"{count / 2**30:.{digits}f}"

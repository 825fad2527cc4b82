"""What can be served where a model does not fit: fewer bits, the host's memory, a smaller model."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from provision.performance import candidates, memory, models, precision
from provision.performance.candidates import Work, gib
from provision.performance.layout import Layout
from provision.performance.machine import Machine
from provision.performance.models import LanguageModel
from provision.performance.precision import PRECISIONS


@dataclass(frozen=True)
class Alternative:
    """One way out. works: whether this rig can go it."""

    what: str
    how: str
    works: bool


def find_alternatives(
    model: LanguageModel, rig: Machine, wanted: str, work: Work
) -> list[Alternative]:
    """For serving a model that fits in no form in precision `wanted`."""
    alternatives = [*_fewer_bits(model, rig, wanted, work), _offload(model, rig, wanted, work)]
    alternatives += _smaller(model, rig, wanted, work)
    return alternatives


def _fitting_candidates(
    model: LanguageModel, rig: Machine, wanted: str, work: Work
) -> list[candidates.Candidate]:
    return [
        find_candidate
        for find_candidate in candidates.find_candidates(model, rig, wanted, work)
        if find_candidate.task == "serve" and find_candidate.fits and find_candidate.memory
    ]


def _fewer_bits(model: LanguageModel, rig: Machine, wanted: str, work: Work) -> list[Alternative]:
    alternatives = []
    for name in PRECISIONS[PRECISIONS.index(wanted) + 1 :]:
        fitting = _fitting_candidates(model, rig, name, work)
        least = min(
            (candidate.memory.total for candidate in fitting if candidate.memory), default=0.0
        )
        how = f"fits, {gib(least)} GiB a GPU" if fitting else "does not fit either"
        alternatives.append(Alternative(name, how, bool(fitting)))
    return alternatives


def _offload(model: LanguageModel, rig: Machine, wanted: str, work: Work) -> Alternative:
    """Layers that stay in the host's memory: copied for every token, or computed there.

    Copied to the GPU with the fastest link, and nothing else counted: a bound. Computed by the
    processor (llama.cpp does), they are read from the host's memory once a token.
    """
    sizes = precision.bytes_per_parameter("serve", wanted)
    count = len(rig.cards)
    layout = Layout("pipeline", stages=count) if count > 1 else Layout("single")
    room = memory.usable_bytes(min(card.memory_bytes for card in rig.cards))
    needs = memory.estimate_memory(
        model, "serve", sizes, layout, candidates.load_of("serve", layout, count, work)
    )
    layer = model.layer * sizes.weight
    if needs.total - needs.weights + 2 * layer > room:
        how = f"the KV cache ({gib(needs.cache)} GiB a GPU) stays there, and does not fit"
        return Alternative("offload", how, False)
    over = math.ceil((needs.total - room) / layer) + 1  # and room for a copy
    moved = min(over * count, model.layers)
    amount = moved * layer
    fastest = max(link.copy_bandwidth for link in rig.links)
    copied, computed = fastest / amount, rig.host_memory / amount
    how = (
        f"{moved} of {model.layers} layers in the host's memory ({gib(amount)} GiB), copied for "
        f"every token: at most {work.streams * copied:.2f} tokens/s; or computed by the processor: "
        f"at most {work.streams * computed:.2f}"
    )
    short = 0 < rig.memory_bytes < amount * 1.1
    if short:
        how += f"; this host has {gib(rig.memory_bytes)} GiB"
    return Alternative("offload", how, not short)


def _smaller(model: LanguageModel, rig: Machine, wanted: str, work: Work) -> list[Alternative]:
    """Return the largest smaller model of the table that fits."""
    smaller = [other for other in models.load().values() if other.total < model.total]
    for candidate in sorted(smaller, key=lambda other: -other.total):
        shorter = replace(work, sequence=min(work.sequence, candidate.context))
        if _fitting_candidates(candidate, rig, wanted, shorter):
            name = candidate.title or candidate.name
            return [Alternative("a smaller model", f"{name} fits in {wanted}", True)]
    return []

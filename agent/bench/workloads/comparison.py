"""A split model against the same model unsplit on one rank: loss and gradients."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from agent.bench.workloads.model import compute_loss

#: Error that rounding in another order explains (measured with 12 layers and 3 ranks: 1e-6,
#: 1e-2 and 4e-2). One rank of 8 whose part is missing makes an eighth; in float32 one value of a
#: million that went astray makes a thousandth.
TOLERANCE = {torch.float32: 2e-5, torch.float16: 3e-2, torch.bfloat16: 1e-1}
NOTHING = 1e-12  # what counts as zero beside rounding


@dataclass(frozen=True)
class StepResult:
    """What a step gave: its loss, and gradients by the names of parameters."""

    loss: float
    gradients: Mapping[str, Any]


def unsplit(model: nn.Module, batches: Iterable[tuple[Any, Any]]) -> StepResult:
    """One step over all batches, of equal size, on this rank alone: means over them."""
    batches = list(batches)
    total = 0.0
    for tokens, targets in batches:
        loss = compute_loss(model(tokens), targets) / len(batches)
        loss.backward()
        total += float(loss.detach())
    return StepResult(total, collect_gradients(model))


def collect_gradients(model: nn.Module) -> dict[str, Any]:
    """By the parameters' names; those that are sharded are put together. Collective if any is.

    The others are the model's own, no copies: a small GPU has no room for them.
    """
    found = {}
    for name, parameter in model.named_parameters():
        gradient = parameter.grad
        whole = gradient.full_tensor() if isinstance(gradient, DTensor) else gradient
        found[name.removeprefix("module.")] = whole.detach()
    return found


def largest_error(found: StepResult, expected: StepResult) -> float:
    """The largest relative error of any tensor: the norm of what differs, over the norm expected.

    Infinite where something is not a number, or has no counterpart.
    """
    pairs = [(torch.tensor(found.loss), torch.tensor(expected.loss))]
    for name, gradient in found.gradients.items():
        if name not in expected.gradients or gradient.shape != expected.gradients[name].shape:
            return math.inf
        pairs.append((gradient, expected.gradients[name]))
    return max(_error(one.float(), other.float()) for one, other in pairs)


def _error(found: Any, expected: Any) -> float:
    if not found.numel():
        return 0.0
    error = float((found - expected).norm()) / (float(expected.norm()) + NOTHING)
    return error if math.isfinite(error) else math.inf


def verdict(what: str, error: float, dtype: torch.dtype) -> dict[str, Any]:
    """An entry's "check"; an infinite error is written as the largest number."""
    tolerance = TOLERANCE[dtype]
    finite = min(error, float(torch.finfo(torch.float64).max))
    return {
        "what": what, "largest_error": finite, "tolerance": tolerance, "right": error <= tolerance,
    }  # fmt: skip

"""Compares loss and gradients of a split model with those of the unsplit model on one rank."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from agent.bench.entries import StepCheck
from agent.bench.workloads.model import compute_loss

#: The error that another order of rounding explains (measured with 12 layers and 3 ranks: 1e-6,
#: 1e-2 and 4e-2). If the part of one of 8 ranks is missing, the error is an eighth; one wrong value
#: of a million in float32 is an error of a thousandth.
TOLERANCE = {torch.float32: 2e-5, torch.float16: 3e-2, torch.bfloat16: 1e-1}
NOTHING = 1e-12  # zero, compared with rounding


@dataclass(frozen=True)
class StepResult:
    """The result of a step: its loss, and gradients by the names of parameters."""

    loss: float
    gradients: Mapping[str, Any]


def run_unsplit(model: nn.Module, batches: Iterable[tuple[Any, Any]]) -> StepResult:
    """Run one step over all batches, of equal size, on this rank alone; return the means."""
    batches = list(batches)
    total = 0.0
    for tokens, targets in batches:
        loss = compute_loss(model(tokens), targets) / len(batches)
        loss.backward()
        total += float(loss.detach())
    return StepResult(total, collect_gradients(model))


def collect_gradients(model: nn.Module) -> dict[str, Any]:
    """Return the gradients by name; sharded ones are gathered, which is collective.

    The others are not copied, because a small GPU has no room for copies.
    """
    gradients = {}
    for name, parameter in model.named_parameters():
        gradient = parameter.grad
        whole = gradient.full_tensor() if isinstance(gradient, DTensor) else gradient
        gradients[name.removeprefix("module.")] = whole.detach()
    return gradients


def find_largest_error(result: StepResult, expected: StepResult) -> float:
    """Return the largest relative error of any tensor: the norm of the difference, over the norm.

    Infinite if a value is not a number, or a tensor has no counterpart.
    """
    pairs = [(torch.tensor(result.loss), torch.tensor(expected.loss))]
    for name, gradient in result.gradients.items():
        if name not in expected.gradients or gradient.shape != expected.gradients[name].shape:
            return math.inf
        pairs.append((gradient, expected.gradients[name]))
    return max(_compute_error(tensor.float(), other.float()) for tensor, other in pairs)


def _compute_error(tensor: Any, expected: Any) -> float:
    if not tensor.numel():
        return 0.0
    error = float((tensor - expected).norm()) / (float(expected.norm()) + NOTHING)
    return error if math.isfinite(error) else math.inf


def build_check(what: str, error: float, dtype: torch.dtype) -> StepCheck:
    """Return an entry's "check"; an infinite error is written as the largest number."""
    tolerance = TOLERANCE[dtype]
    finite = min(error, float(torch.finfo(torch.float64).max))
    return {
        "what": what,
        "largest_error": finite,
        "tolerance": tolerance,
        "right": error <= tolerance,
    }

"""What is predicted of a candidate, and what bounds it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from provision.performance.network import Network
from provision.performance.step_time import StepTime
from provision.performance.traffic import Transfer

NOTICED = 0.1  # a share of the step below which communication is not what bounds it
ARITHMETIC, MEMORY = "the GPUs' arithmetic", "the GPUs' memory"


@dataclass(frozen=True)
class Prediction:
    """Of one step in training, of one token of every stream in serving.

    tokens_per_second: of the whole rig. prefill: tokens of a prompt per second, in serving.
    rate: FLOP/s counted with; rate_from: measured or derived.
    """

    step: StepTime
    tokens_per_second: float
    bound_by: str
    transfers: tuple[Transfer, ...]
    network: Network
    rate: float
    rate_from: str
    prefill: float | None = None


def bottleneck(
    done: StepTime, quiet: float, sent: Sequence[Transfer], network: Network, otherwise: str
) -> str:
    """The bottleneck of the step: a link, latency, a pipeline's bubble, or the GPUs."""
    messages = done.seconds - max(quiet, done.compute)
    bubble = max(quiet - done.compute, 0.0)
    if max(messages, bubble) < NOTICED * done.seconds:
        return otherwise
    if bubble > messages:
        return "the pipeline's bubble"
    worst = max(
        sent,
        key=lambda transfer: (
            transfer.count
            * network.seconds(transfer.collective, transfer.ranks, transfer.size_bytes)
        ),
    )
    cost = network.cost(worst.collective)
    waits = cost.seconds(worst.collective, worst.ranks, 0.0)
    if waits > cost.seconds(worst.collective, worst.ranks, worst.size_bytes) / 2:
        return "latency"
    return cost.because

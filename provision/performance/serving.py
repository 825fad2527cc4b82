"""Serving: a token of every stream at a time (decode), and the prompt before (prefill)."""

from __future__ import annotations

from collections.abc import Sequence

from provision.performance import compute, figures, precision, step_time, traffic
from provision.performance.candidates import Candidate
from provision.performance.layout import stages
from provision.performance.machine import Machine
from provision.performance.network import Network
from provision.performance.prediction import ARITHMETIC, MEMORY, Prediction, bottleneck
from provision.performance.step_time import StepTime
from provision.performance.traffic import Transfer

PROMPT = 2048  # tokens of the prompt whose reading is predicted


def serve(
    candidate: Candidate, rig: Machine, network: Network, rate: float, rate_from: str
) -> Prediction:
    """Decoding is bound by reading weights, prefill by arithmetic; messages wait in both."""
    model, layout, streams = candidate.model, candidate.layout, candidate.load.batch
    sizes = precision.bytes_per_parameter(candidate.task, candidate.precision)
    cards = [rig.cards[at] for at in rig.best(layout.gpus)]
    cached = candidate.memory.cache if candidate.memory else 0.0
    reading = 0.0
    for card, layers in zip(
        cards, stages(model, layout.stages) * layout.tensor * layout.data, strict=False
    ):
        amount = compute.decode_bytes(model, sizes, layout, layers, streams, cached)
        seconds = amount / (card.memory_bandwidth * figures.value("decode_share_of_memory"))
        reading = reading + seconds if layout.stages > 1 else max(reading, seconds)
    token = streams * model.hidden * sizes.activation
    flops = compute.served_flops(model, layout, streams, candidate.load.sequence, streams)
    arithmetic = flops / rate
    sent = _forward_messages(candidate, token)
    done = forward_time(max(reading, arithmetic), sent, network, layout.stages)
    prompt = min(PROMPT, candidate.load.sequence)
    ahead = forward_time(
        compute.served_flops(model, layout, prompt, prompt, 1) / rate,
        _forward_messages(candidate, prompt * model.hidden * sizes.activation),
        network,
        layout.stages,
    )
    what = MEMORY if reading >= arithmetic else ARITHMETIC
    return Prediction(
        step=done,
        tokens_per_second=streams / done.seconds,
        bound_by=bottleneck(done, 0.0, sent, network, what),
        transfers=tuple(sent),
        network=network,
        rate=rate,
        rate_from=rate_from,
        prefill=prompt / ahead.seconds,
    )


def forward_time(
    compute: float, sent: Sequence[Transfer], network: Network, stages: int
) -> StepTime:
    """Return the time of one forward pass, which waits for every message.

    Between stages each boundary has its own pair's cost.
    """
    if stages < 2:
        return step_time.serial(compute, sent, network)
    boundaries = range(stages - 1)
    wire = sum(
        network.send(at, at + 1, transfer.size_bytes) for transfer in sent for at in boundaries
    )
    return StepTime(compute + wire, compute, wire)


def _forward_messages(candidate: Candidate, activations: float) -> list[Transfer]:
    """Messages of one forward pass."""
    model, layout = candidate.model, candidate.layout
    if layout.form == "tensor":
        return traffic.decode(activations, model.layers, layout.tensor)
    if layout.form == "pipeline":
        return [Transfer("activations", "sendrecv", 2, activations, layout.stages - 1)]
    if layout.form == "expert":
        size = activations * model.top_k / layout.expert
        return [Transfer("tokens", "all_to_all", layout.expert, size, 2 * model.layers)]
    return []

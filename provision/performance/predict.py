"""How fast a candidate runs on a rig: the step's time, tokens per second, and what bounds it."""

from __future__ import annotations

from provision.performance import compute
from provision.performance.candidates import Candidate
from provision.performance.machine import Machine, network_of
from provision.performance.prediction import Prediction
from provision.performance.serving import serve
from provision.performance.training import train


def predict(candidate: Candidate, rig: Machine, now: Machine) -> Prediction:
    """Of a candidate that fits, on cards whose speed is known; `now`: the rig on its own links."""
    some = [rig.cards[at] for at in rig.best(candidate.layout.gpus)]
    network = network_of(rig, now, candidate.layout.gpus)
    kind = "fp32" if candidate.precision == "fp32" and candidate.task != "qlora" else "bf16"
    gemm = now.measured.gemm.get(kind) if now.measured else None
    rate = min(compute.rate(card, kind, gemm) for card in some) * rig.speed
    rate_from = "measured" if gemm else "derived"
    if candidate.task == "serve":
        return serve(candidate, rig, network, rate, rate_from)
    return train(candidate, rig, network, rate, rate_from)

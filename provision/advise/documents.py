"""What `fab advise --json` prints (docs/advise.md), as types.

Bytes, seconds, bytes per second and FLOP/s; losses and gains are shares.
"""

from __future__ import annotations

from typing import Literal, TypedDict


class LinkDocument(TypedDict):
    """A GPU's link. sharers: how many GPUs share it."""

    generation: int
    width: int
    sharers: int
    bandwidth_bytes_per_second: float


class RigDocument(TypedDict):
    """The rig as it is now. measured: the title of the benchmark, if there is one."""

    gpus: list[str]
    links: list[LinkDocument]
    board: str
    cpu: str
    measured: str | None
    notes: list[str]


class TransferDocument(TypedDict):
    """Collectives of one kind in a step, and what one of them costs."""

    what: str
    collective: str
    ranks: int
    size_bytes: float
    count: float
    overlaps: bool
    sent_bytes: float
    latency_seconds: float
    ring_step_seconds: float
    bus_bandwidth_bytes_per_second: float
    origin: str
    because: str


class WidthDocument(TypedDict):
    """The same with all links of one generation and width."""

    generation: int
    width: int
    tokens_per_second: float
    step_seconds: float
    prefill_tokens_per_second: float | None
    loss: float
    bound_by: str


class _CandidateHead(TypedDict):
    task: str
    form: str
    gpus: int
    fits: bool
    reason: str
    memory_bytes: dict[str, float] | None
    usable_bytes: float
    recompute: bool


class CandidateDocument(_CandidateHead, total=False):
    """A way to train or serve a model. What depends on speed is missing where none is known."""

    step_seconds: float
    compute_seconds: float
    exposed_seconds: float
    tokens_per_second: float
    prefill_tokens_per_second: float | None
    bound_by: str
    flops_per_second: float
    flops_from: str
    transfers: list[TransferDocument]
    formula: dict[str, str]
    links: list[WidthDocument]


class ModelDocument(TypedDict):
    """All of one model. instead: what to do where serving it fits in no form."""

    model: str
    parameters: float
    candidates: list[CandidateDocument]
    instead: list[dict[str, str | bool]]


class ChangeDocument(TypedDict):
    """A change of the rig, and what it gains: times as fast."""

    change: str
    title: str
    how: str
    gain_of_fastest: float
    largest_gain: float
    largest_gain_of: str


class AdviceDocument(TypedDict):
    """All of a report."""

    format: Literal["deeprig-advice"]
    version: Literal[1]
    rig: RigDocument
    precision: str
    generations: list[int]
    models: list[ModelDocument]
    advice: list[ChangeDocument]

"""Runs a workload: checks one step, then times steps."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from agent.bench import text_tables
from agent.bench.communicator import DTYPES, Communicator
from agent.bench.entries import Share, StepCheck, WorkloadEntry
from agent.bench.timing import time_repeats
from agent.bench.workloads import model, sleeping_layers
from agent.bench.workloads.comparison import (
    StepResult,
    build_check,
    collect_gradients,
    find_largest_error,
    run_unsplit,
)
from agent.bench.workloads.shape import ModelShape

STEPS, WARM_UP = 5, 2
LEARNING_RATE = 1e-3
COMPARED = "loss and gradients against the same model unsplit"


@dataclass(frozen=True)
class WorkloadOptions:
    """A workload's options from a job."""

    shape: ModelShape
    dtype: torch.dtype
    compute: Any
    steps: int
    warm_up: int
    options: Mapping[str, Any]

    @classmethod
    def parse(cls, comm: Communicator, options: Mapping[str, Any]) -> WorkloadOptions:
        """Parse the options. Raises UnusableError for an invalid shape. Collective.

        If a GPU has too little memory for the shape, "small" has another one ({"below_bytes": …,
        "shape": …}). If a GPU has no bfloat16, all ranks use float32.
        """
        values, small = options.get("shape", {}), options.get("small")
        if small and comm.find_least_memory() < small["below_bytes"]:
            values = small["shape"]
        shape = ModelShape.parse(values)
        dtype = DTYPES[options.get("dtype", "float32")]
        if dtype == torch.bfloat16 and not comm.has_bfloat16():
            dtype = torch.float32
        return cls(
            shape,
            dtype,
            options.get("compute", "real"),
            int(options.get("steps", STEPS)),
            int(options.get("warm_up", WARM_UP)),
            options,
        )

    @property
    def is_real(self) -> bool:
        """Whether layers compute instead of sleeping."""
        return bool(self.compute == "real")

    def layers(self, gradient: float = 1.0) -> model.LayerMaker:
        """Return what creates layers; sleeping ones return this gradient."""
        return sleeping_layers.layer_maker(self.compute, gradient)

    def unsplit_layers(self, gradient: float = 1.0) -> model.LayerMaker:
        """Return the same for the unsplit model, whose layers do not sleep."""
        idle = {"forward_seconds": 0.0, "backward_seconds": 0.0}
        return sleeping_layers.layer_maker("real" if self.is_real else idle, gradient)


def sleeping_gradient(ranks: int) -> float:
    """Return the gradient of the unsplit model's sleeping layers for each rank's batch.

    Rank r's layers return r + 1, whose mean is (ranks + 1) / 2; the unsplit model adds one gradient
    for each batch.
    """
    return (ranks + 1) / 2 / ranks


def build_model(
    comm: Communicator,
    settings: WorkloadOptions,
    make_layer: model.LayerMaker,
    numbers: Iterable[int] | None = None,
) -> model.Transformer:
    """Return the model, or these layers of it, on the rank's device, in the options' data type."""

    def create(shape: ModelShape, number: int) -> nn.Module:  # reports progress: it may be slow
        comm.progress.report_position(f"making layer {number + 1} of {shape.layers}")
        return make_layer(shape, number)

    return model.Transformer(settings.shape, create, numbers, comm.device, settings.dtype)


def make_batches(
    comm: Communicator, settings: WorkloadOptions, numbers: Iterable[int]
) -> list[tuple[Any, Any]]:
    """Return tokens and targets of these data-parallel ranks, on the device."""
    batches = [model.make_batch(settings.shape, number) for number in numbers]
    return [(tokens.to(comm.device), targets.to(comm.device)) for tokens, targets in batches]


def compute_expected(
    comm: Communicator,
    settings: WorkloadOptions,
    numbers: Iterable[int],
    make_layer: model.LayerMaker,
    pieces: int = 1,
) -> StepResult:
    """Return the unsplit model's result for the batches of these data-parallel ranks.

    pieces: equal parts of a batch, so that a part fits a GPU with the memory for a microbatch.
    Sleeping layers need no memory and return their gradient once a batch.
    """
    whole = build_model(comm, settings, make_layer)
    if not settings.is_real:
        pieces = 1
    return run_unsplit(
        whole,
        [
            piece
            for tokens, targets in make_batches(comm, settings, numbers)
            for piece in zip(tokens.chunk(pieces), targets.chunk(pieces), strict=True)
        ],
    )


def data_parallel_step(parallel: nn.Module, tokens: Any, targets: Any) -> Callable[[], Any]:
    """Return forward and backward of a wrapped model, which averages the gradients."""

    def step() -> Any:
        loss = model.compute_loss(parallel(tokens), targets)
        loss.backward()
        return loss

    return step


def train(
    comm: Communicator,
    settings: WorkloadOptions,
    workload: str,
    *,
    parts: nn.Module,
    step: Callable[[], Any],
    expected: Callable[[], StepResult],
    tokens: int,
    parameters: int,
    compared: Callable[[str], bool] = lambda name: True,
) -> Share:
    """Check one step and time others; return the part's share of the document. Collective.

    parts: the layers of this rank. step: forward and backward of a batch; returns the loss, None on
    ranks without it. expected: the unsplit model's result; called after the first step. tokens: in
    a step of all ranks. parameters: of the whole model. compared: whether a parameter's gradient is
    compared. An optimizer's step (SGD) follows if layers compute.
    """
    comm.progress.report_position("a step, to compare")
    loss = step()
    losses = comm.gather(None if loss is None else float(loss.detach()))
    losses = [loss for loss in losses if loss is not None]
    gradients = {
        name: gradient for name, gradient in collect_gradients(parts).items() if compared(name)
    }
    result = StepResult(sum(losses) / len(losses), gradients)
    comm.progress.report_position("the unsplit model, to compare")
    error = comm.find_worst(find_largest_error(result, expected()))
    del result, gradients
    optimizer = torch.optim.SGD(parts.parameters(), lr=LEARNING_RATE) if settings.is_real else None

    def whole_step() -> None:
        parts.zero_grad(set_to_none=True)
        step()
        if optimizer is not None:
            optimizer.step()

    if comm.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    steps = time_repeats(
        comm, whole_step, warm_up=settings.warm_up, repeats=settings.steps, what=f"{workload}, step"
    )
    check = build_check(COMPARED, error, settings.dtype)
    return build_entry(comm, settings, workload, steps, tokens, parameters, check)


def build_entry(
    comm: Communicator,
    settings: WorkloadOptions,
    workload: str,
    steps: list[float],
    tokens: int,
    parameters: int,
    check: StepCheck,
) -> Share:
    """Return a workload's share of the document, and print its lines."""
    peak = torch.cuda.max_memory_allocated() if comm.device.type == "cuda" else None
    seconds = statistics.median(steps)
    result: WorkloadEntry = {
        "workload": workload,
        "ranks": comm.size,
        "shape": settings.shape.as_mapping(),
        "dtype": str(settings.dtype).removeprefix("torch."),
        "compute": settings.compute,
        "steps": steps,
        "step_seconds": seconds,
        "warm_up": settings.warm_up,
        "parameters": parameters,
        "tokens_per_second": tokens / seconds,
        "peak_memory_bytes": None if peak is None else int(comm.find_worst(peak)),
        "check": check,
    }
    for line in text_tables.format_workload(result):
        comm.line(line)
    return {"workloads": [result]}


def train_replicas(
    comm: Communicator,
    settings: WorkloadOptions,
    workload: str,
    parallel: nn.Module,
    parameters: int,
) -> Share:
    """Train the whole model with a separate batch on each rank: ddp and fsdp.

    parallel: the model, wrapped to average its gradients. parameters: of the unsplit model.
    """
    ((tokens, targets),) = make_batches(comm, settings, [comm.rank])
    return train(
        comm,
        settings,
        workload,
        parts=parallel,
        step=data_parallel_step(parallel, tokens, targets),
        expected=lambda: compute_expected(
            comm,
            settings,
            range(comm.size),
            settings.unsplit_layers(sleeping_gradient(comm.size)),
        ),
        tokens=settings.shape.tokens * comm.size,
        parameters=parameters,
    )

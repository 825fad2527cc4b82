"""How a workload is run: one step checked, then steps timed; the files beside this one say what."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from agent.bench import text_tables
from agent.bench.communicator import DTYPES, Communicator
from agent.bench.timing import time_repeats
from agent.bench.workloads import model, sleeping_layers
from agent.bench.workloads.comparison import (
    StepResult,
    collect_gradients,
    largest_error,
    unsplit,
    verdict,
)
from agent.bench.workloads.shape import ModelShape

STEPS, WARM_UP = 5, 2
LEARNING_RATE = 1e-3
BY_OTHERS = "loss and gradients against the same model unsplit"


@dataclass(frozen=True)
class WorkloadOptions:
    """A job's options for a workload, read."""

    shape: ModelShape
    dtype: torch.dtype
    compute: Any
    steps: int
    warm_up: int
    options: Mapping[str, Any]

    @classmethod
    def of(cls, comm: Communicator, options: Mapping[str, Any]) -> WorkloadOptions:
        """Raises UnusableError for a shape that can't be. Collective.

        Where a GPU has too little memory for the shape, "small" has another ({"below_bytes": …,
        "shape": …}). Where one has no bfloat16, float32 takes its place.
        """
        values, small = options.get("shape", {}), options.get("small")
        if small and comm.least_memory() < small["below_bytes"]:
            values = small["shape"]
        shape = ModelShape.of(values)
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
    def real(self) -> bool:
        """Whether layers compute, or sleep."""
        return bool(self.compute == "real")

    def layers(self, gradient: float = 1.0) -> model.LayerMaker:
        """Makes layers that compute, or sleep and give this gradient."""
        return sleeping_layers.layer_maker(self.compute, gradient)

    def unsplit_layers(self, gradient: float = 1.0) -> model.LayerMaker:
        """The same for the model that they are held against: nobody waits for it."""
        still = {"forward_seconds": 0.0, "backward_seconds": 0.0}
        return sleeping_layers.layer_maker("real" if self.real else still, gradient)


def sleeping_gradient(ranks: int) -> float:
    """What the unsplit model's sleeping layers give for each rank's batch.

    Rank r's give r + 1, whose mean is (ranks + 1) / 2; the unsplit model adds one for each batch.
    """
    return (ranks + 1) / 2 / ranks


def build_model(
    comm: Communicator,
    setting: WorkloadOptions,
    make_layer: model.LayerMaker,
    numbers: Iterable[int] | None = None,
) -> model.Transformer:
    """The model or these layers of it, on the rank's device, in the setting's data type."""

    def told(shape: ModelShape, number: int) -> nn.Module:  # a slow processor is no hang
        comm.progress.at(f"making layer {number + 1} of {shape.layers}")
        return make_layer(shape, number)

    return model.Transformer(setting.shape, told, numbers, comm.device, setting.dtype)


def batches(
    comm: Communicator, setting: WorkloadOptions, numbers: Iterable[int]
) -> list[tuple[Any, Any]]:
    """Tokens and targets of these data-parallel ranks, on the device."""
    made = [model.make_batch(setting.shape, number) for number in numbers]
    return [(tokens.to(comm.device), targets.to(comm.device)) for tokens, targets in made]


def expectation(
    comm: Communicator,
    setting: WorkloadOptions,
    numbers: Iterable[int],
    make_layer: model.LayerMaker,
    pieces: int = 1,
) -> StepResult:
    """What the unsplit model gives for the batches of these data-parallel ranks.

    pieces: into how many equal ones a batch is cut, so that one fits a GPU that held a microbatch.
    Layers that sleep hold nothing, and give their gradient once a batch.
    """
    whole = build_model(comm, setting, make_layer)
    if not setting.real:
        pieces = 1
    return unsplit(whole, [
        piece
        for tokens, targets in batches(comm, setting, numbers)
        for piece in zip(tokens.chunk(pieces), targets.chunk(pieces), strict=True)
    ])  # fmt: skip


def data_parallel_step(parallel: nn.Module, tokens: Any, targets: Any) -> Callable[[], Any]:
    """Forward and backward; whoever wraps the model averages the gradients meanwhile."""

    def step() -> Any:
        loss = model.compute_loss(parallel(tokens), targets)
        loss.backward()
        return loss

    return step


def train(
    comm: Communicator,
    setting: WorkloadOptions,
    workload: str,
    *,
    parts: nn.Module,
    step: Callable[[], Any],
    expected: Callable[[], StepResult],
    tokens: int,
    parameters: int,
    compared: Callable[[str], bool] = lambda name: True,
) -> dict[str, Any]:
    """Check a step and time others: the part's share of the document. Collective.

    parts: what this rank holds. step: forward and backward of a batch; its loss, None on ranks that
    don't know it. expected: what the unsplit model gives; asked after a first step. tokens: in a
    step of all ranks. parameters: of the whole model. compared: the names of parameters whose
    gradients are compared.
    Layers that compute are followed by an optimizer's step (SGD), those that sleep are not.
    """
    comm.progress.at("a step, to compare")
    loss = step()
    losses = comm.gather(None if loss is None else float(loss.detach()))
    known = [one for one in losses if one is not None]
    found = {name: one for name, one in collect_gradients(parts).items() if compared(name)}
    outcome = StepResult(sum(known) / len(known), found)
    comm.progress.at("the unsplit model, to compare")
    error = comm.worst(largest_error(outcome, expected()))
    del outcome, found
    optimizer = torch.optim.SGD(parts.parameters(), lr=LEARNING_RATE) if setting.real else None

    def whole_step() -> None:
        parts.zero_grad(set_to_none=True)
        step()
        if optimizer is not None:
            optimizer.step()

    if comm.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    steps = time_repeats(
        comm, whole_step, warm_up=setting.warm_up, repeats=setting.steps, what=f"{workload}, step"
    )
    check = verdict(BY_OTHERS, error, setting.dtype)
    return entry(comm, setting, workload, steps, tokens, parameters, check)


def entry(
    comm: Communicator,
    setting: WorkloadOptions,
    workload: str,
    steps: list[float],
    tokens: int,
    parameters: int,
    check: Mapping[str, Any],
) -> dict[str, Any]:
    """A workload's share of the document, and its lines for people."""
    peak = torch.cuda.max_memory_allocated() if comm.device.type == "cuda" else None
    seconds = statistics.median(steps)
    made = {
        "workload": workload,
        "ranks": comm.size,
        "shape": setting.shape.as_mapping(),
        "dtype": str(setting.dtype).removeprefix("torch."),
        "compute": setting.compute,
        "steps": steps,
        "step_seconds": seconds,
        "warm_up": setting.warm_up,
        "parameters": parameters,
        "tokens_per_second": tokens / seconds,
        "peak_memory_bytes": None if peak is None else int(comm.worst(peak)),
        "check": dict(check),
    }
    for line in text_tables.workload_lines(made):
        comm.line(line)
    return {"workloads": [made]}


def train_replicas(
    comm: Communicator,
    setting: WorkloadOptions,
    workload: str,
    parallel: nn.Module,
    parameters: int,
) -> dict[str, Any]:
    """Train where each rank has the whole model's work on a batch of its own: ddp and fsdp.

    parallel: the model in what averages its gradients. parameters: of the unsplit model.
    """
    ((tokens, targets),) = batches(comm, setting, [comm.rank])
    return train(
        comm, setting, workload,
        parts=parallel,
        step=data_parallel_step(parallel, tokens, targets),
        expected=lambda: expectation(
            comm, setting, range(comm.size),
            setting.unsplit_layers(sleeping_gradient(comm.size)),
        ),
        tokens=setting.shape.tokens * comm.size,
        parameters=parameters,
    )  # fmt: skip

"""The rank program alone, with layers that sleep."""

from __future__ import annotations

from typing import Any

import pytest

from tests.torch import forks

pytestmark = pytest.mark.extended  # every parallelism on several ranks

FORWARD, BACKWARD, LAYERS, MICROBATCHES = 0.004, 0.008, 4, 2
SHAPE = {
    "layers": LAYERS,
    "hidden": 32,
    "feed_forward": 64,
    "heads": 2,
    "experts": 4,
    "batch": 2,
    "sequence": 8,
    "vocabulary": 32,
    "microbatches": MICROBATCHES,
}
#: Seconds that a step sleeps at least.
LEAST = {
    "ddp": LAYERS * (FORWARD + BACKWARD),
    "fsdp": LAYERS * (FORWARD + BACKWARD),
    "tensor": LAYERS * (FORWARD + BACKWARD),
    "moe": LAYERS * (FORWARD + BACKWARD),
    "decode": LAYERS * FORWARD,
    # A stage has half of the layers; one microbatch goes through both before anything overlaps.
    "pipeline": (LAYERS + LAYERS / 2 * (MICROBATCHES - 1)) * (FORWARD + BACKWARD),
}


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Of two jobs. Two ranks: a part that can't be run, workloads that sleep, and a part that
    computes. Eight ranks: three forms of parallelism at once, which compute.
    """
    compute = {"forward_seconds": FORWARD, "backward_seconds": BACKWARD}
    workloads = [
        {"part": name, "shape": SHAPE, "steps": 2, "warm_up": 1, "compute": compute}
        for name in LEAST
    ]
    parts: list[dict[str, Any]] = [
        {"part": "tensor", "shape": SHAPE | {"heads": 1}},
        *workloads,
        {"part": "gemm", "dtypes": ["float32"], "size": 8, "repeats": 1},
    ]
    at_once = {"part": "three_d", "shape": SHAPE | {"batch": 4}, "steps": 1, "warm_up": 0}
    two, eight = tmp_path_factory.mktemp("two"), tmp_path_factory.mktemp("eight")
    return forks.run((two, 2, parts), (eight, 8, [at_once]))


@pytest.fixture(scope="module")
def asleep(outputs: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the workloads by name."""
    return {entry["workload"]: entry for entry in outputs[0]["workloads"]}


@pytest.mark.parametrize("name", list(LEAST))
def test_sleeping_layers_take_their_time_and_send_right_values(
    asleep: dict[str, dict[str, Any]], name: str
) -> None:
    entry = asleep[name]
    assert entry["check"]["right"]
    assert entry["compute"] == {"forward_seconds": FORWARD, "backward_seconds": BACKWARD}
    assert min(entry["steps"]) >= LEAST[name] * 0.999, "a sleep is never shorter"
    assert len(entry["steps"]) == 2


def test_sleeping_layers_have_the_parameters_of_the_model(
    asleep: dict[str, dict[str, Any]],
) -> None:
    counts = {asleep[name]["parameters"] for name in ("ddp", "fsdp", "pipeline", "tensor")}
    assert len(counts) == 1
    assert asleep["moe"]["parameters"] > counts.pop()


def test_unusable_part_does_not_end_the_ranks(outputs: list[dict[str, Any]]) -> None:
    """The ranks report it, and the next parts run."""
    assert outputs[0]["parts"] == [*LEAST, "gemm"]
    assert outputs[0]["torch"].startswith("2."), "versions are reported, whatever is run"


def test_three_d_works_on_eight_ranks(outputs: list[dict[str, Any]]) -> None:
    (entry,) = outputs[1]["workloads"]
    assert (entry["workload"], entry["ranks"]) == ("three_d", 8)
    assert entry["check"]["right"]
    assert entry["check"]["largest_error"] > 0

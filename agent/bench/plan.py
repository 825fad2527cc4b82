"""Which parts run with which options, and why others are skipped. Pure; the data is plans.json.

plans.json has, by backend and plan, "deadline_seconds" of the whole run, "patience_seconds" for
which all ranks may be silent, and "parts" in order with their options. A workload's "memory" is the
estimated memory of its shape on a GPU in float32; if a GPU has less, all ranks use the shape of the
quick plan.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.bench.errors import UnusableError

TABLE = Path(__file__).with_name("plans.json")
PLANS = ("quick", "full")
WORKLOADS = ("ddp", "fsdp", "pipeline", "tensor", "three_d", "moe", "decode")
PARTS = (
    "environment",
    "gemm",
    "transfers",
    "peer",
    "hazards",
    "collectives",
    "pairs",
    *WORKLOADS,
    "tools",
)
#: The launcher runs these in separate processes; the rank program runs all others.
BY_LAUNCHER = ("hazards", "tools")
ON_GPUS = ("transfers", "peer", "hazards", "tools")
ALONE = ("environment", "gemm", "transfers")  # parts that one rank can run
#: Parts that move data between GPUs, so that P2P can cause wrong values.
BETWEEN_GPUS = ("peer", "collectives", "pairs", *WORKLOADS)
ON_ONE_RIG = ("peer", "hazards", "tools")
NEEDS_NUMPY = ("pipeline", "three_d")  # torch.distributed.pipelining imports it
THREE_D_RANKS = 8
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


@dataclass(frozen=True)
class Resources:
    """The resources of a run."""

    backend: str
    ranks: int
    nodes: int = 1
    numpy: bool = True


@dataclass(frozen=True)
class Part:
    """A part with its options, or the reason why it is skipped."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    skipped: str = ""


@dataclass(frozen=True)
class Plan:
    """The parts of a run. Times in seconds."""

    parts: tuple[Part, ...]
    deadline_seconds: float
    patience_seconds: float

    def with_times(self, deadline_seconds: float | None, patience_seconds: float | None) -> Plan:
        """Return the plan with other times; None keeps a time."""
        return Plan(
            self.parts,
            self.deadline_seconds if deadline_seconds is None else deadline_seconds,
            self.patience_seconds if patience_seconds is None else patience_seconds,
        )


def parse_size(text: str) -> int:
    """Return the bytes of a size in the notation of nccl-tests. Raises UnusableError.

    >>> parse_size("8"), parse_size("256M")
    (8, 268435456)
    """
    match = re.fullmatch(r"(\d+)([KMG]?)B?", text.upper())
    if not match or not int(match[1]):
        raise UnusableError(f"{text!r} is not a size", "Write for example 8, 64K, 256M or 1G.")
    return int(match[1]) * _UNITS[match[2]]


def list_sizes(least: int, most: int, factor: int) -> list[int]:
    """Return sizes from the least, by a factor, up to and including the most.

    >>> list_sizes(8, 1000, 10)
    [8, 80, 800, 1000]
    """
    if least > most or factor < 2:
        raise UnusableError(
            f"no sizes from {least} to {most} by factor {factor}",
            "The least must not exceed the most; the factor must be 2 or more.",
        )
    sizes = [least]
    while sizes[-1] * factor < most:
        sizes.append(sizes[-1] * factor)
    return sizes if sizes[-1] == most else [*sizes, most]


def fit_shape(part: str, shape: Mapping[str, int], ranks: int) -> dict[str, int]:
    """Return the shape with numbers that ranks must share raised to multiples of the ranks.

    The size of attention heads does not change: hidden grows with their number.

    >>> fit_shape("tensor", {"hidden": 1024, "heads": 16, "feed_forward": 4096}, 3)
    {'hidden': 1152, 'heads': 18, 'feed_forward': 4098}
    """
    fitted = dict(shape)
    if part in ("tensor", "decode", "three_d"):
        parts = 2 if part == "three_d" else ranks  # 2 x 2 x 2
        head_size = fitted["hidden"] // fitted["heads"]
        fitted["heads"] = round_up(fitted["heads"], parts)
        fitted["hidden"] = fitted["heads"] * head_size
        fitted["feed_forward"] = round_up(fitted["feed_forward"], parts)
    elif part == "moe":
        fitted["experts"] = round_up(fitted["experts"], ranks)
    elif part == "pipeline":
        fitted["layers"] = max(fitted["layers"], ranks)
    return fitted


def round_up(number: int, factor: int) -> int:
    """Return the next multiple of the factor.

    >>> round_up(5, 4)
    8
    """
    return -(-number // factor) * factor


def find_skip_reason(part: str, resources: Resources) -> str:
    """Return why a part cannot run here; empty if it can."""
    if part in ON_GPUS and resources.backend != "nccl":
        return "needs NVIDIA GPUs and NCCL"
    if part not in ALONE and resources.ranks < 2:
        return (
            "needs two GPUs or more" if resources.backend == "nccl" else "needs two ranks or more"
        )
    if part in ON_ONE_RIG and resources.nodes > 1:
        return "runs on a single rig only"
    if part == "three_d" and resources.ranks != THREE_D_RANKS:
        return f"needs {THREE_D_RANKS} ranks (2 x 2 x 2), got {resources.ranks}"
    if part in NEEDS_NUMPY and not resources.numpy:
        return "needs numpy, which is not installed"
    return ""


def build_plan(
    name: str,
    resources: Resources,
    parts: Sequence[str] = (),
    changes: Mapping[str, Any] | None = None,
) -> Plan:
    """Return the plan of this name for these resources.

    parts: selected parts; empty selects all of the plan. changes: options of the command line that
    replace the plan's: min_bytes, max_bytes (bytes), factor, repeats.
    """
    tables = json.loads(TABLE.read_text(encoding="utf-8"))[resources.backend]
    table, quick = tables[name], tables["quick"]["parts"]
    options = table["parts"]
    # A selected part that this backend's table does not have is reported as skipped.
    names = [part for part in PARTS if part in parts] if parts else list(options)
    selected = tuple(
        Part(
            part,
            _build_options(part, options.get(part, {}), quick, resources, changes or {}),
            find_skip_reason(part, resources),
        )
        for part in names
    )
    return Plan(selected, table["deadline_seconds"], table["patience_seconds"])


def _build_options(
    part: str,
    defaults: Mapping[str, Any],
    quick: Mapping[str, Any],
    resources: Resources,
    changes: Mapping[str, Any],
) -> dict[str, Any]:
    """Return a part's options. quick: the quick plan's parts, for GPUs with too little memory."""
    options = dict(defaults)
    if "repeats" in options and "repeats" in changes:
        options["repeats"] = changes["repeats"]
    for key in ("size_bytes", "min_bytes", "max_bytes"):
        if key in options:
            options[key] = parse_size(options[key])
    if part in ("collectives", "pairs"):
        least = changes.get("min_bytes", options.pop("min_bytes"))
        most = changes.get("max_bytes", options.pop("max_bytes"))
        if part == "pairs":
            options["sizes_bytes"] = sorted({least, most})
        else:
            factor = changes.get("factor", options.pop("factor"))
            options["sizes_bytes"] = list_sizes(least, most, factor)
    if "memory" in options:
        small = fit_shape(part, quick[part]["shape"], resources.ranks)
        options["small"] = {"below_bytes": parse_size(options.pop("memory")), "shape": small}
    if "shape" in options:
        options["shape"] = fit_shape(part, options["shape"], resources.ranks)
    return options

"""Which parts are run, how large, and which are not and why. Its data is plans.json. Pure.

plans.json: by backend and plan, "deadline_seconds" of the whole, "patience_seconds" for which no
rank may say anything, and "parts" in their order with the options of each. A workload's "memory" is
what a GPU must have for its shape in float32, estimated: where one has less, all ranks take the
quick plan's shape.
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
    "environment", "gemm", "transfers", "peer", "hazards", "collectives", "pairs", *WORKLOADS,
    "tools",
)  # fmt: skip
#: Run by the launcher, in processes of their own; all others by the rank program.
BY_LAUNCHER = ("hazards", "tools")
ON_GPUS = ("transfers", "peer", "hazards", "tools")
ALONE = ("environment", "gemm", "transfers")  # the parts that one rank can run
#: Where data goes from GPU to GPU, so that wrong values may be P2P's.
BETWEEN_GPUS = ("peer", "collectives", "pairs", *WORKLOADS)
ON_ONE_RIG = ("peer", "hazards", "tools")
NEEDS_NUMPY = ("pipeline", "three_d")  # torch.distributed.pipelining imports it
THREE_D_RANKS = 8
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


@dataclass(frozen=True)
class Resources:
    """What a run stands on."""

    backend: str
    ranks: int
    nodes: int = 1
    numpy: bool = True


@dataclass(frozen=True)
class Part:
    """A part and its options, or why it is skipped."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    skipped: str = ""


@dataclass(frozen=True)
class Plan:
    """What is to be done. Times in seconds."""

    parts: tuple[Part, ...]
    deadline_seconds: float
    patience_seconds: float

    def limited(self, deadline_seconds: float | None, patience_seconds: float | None) -> Plan:
        """The same with other times; None keeps its own."""
        return Plan(
            self.parts,
            self.deadline_seconds if deadline_seconds is None else deadline_seconds,
            self.patience_seconds if patience_seconds is None else patience_seconds,
        )


def size(text: str) -> int:
    """Bytes of a size as nccl-tests takes it. Raises UnusableError.

    >>> size("8"), size("256M")
    (8, 268435456)
    """
    match = re.fullmatch(r"(\d+)([KMG]?)B?", text.upper())
    if not match or not int(match[1]):
        raise UnusableError(f"{text!r} is no size", "One is 8, 64K, 256M or 1G.")
    return int(match[1]) * _UNITS[match[2]]


def sizes(least: int, most: int, factor: int) -> list[int]:
    """From the least by a factor up to the most, which is one of them.

    >>> sizes(8, 1000, 10)
    [8, 80, 800, 1000]
    """
    if least > most or factor < 2:
        raise UnusableError(
            f"no sizes from {least} to {most} by factor {factor}",
            "The least is not above the most, and the factor 2 or more.",
        )
    found = [least]
    while found[-1] * factor < most:
        found.append(found[-1] * factor)
    return found if found[-1] == most else [*found, most]


def fitted(part: str, shape: Mapping[str, int], ranks: int) -> dict[str, int]:
    """The shape with what must be split evenly raised to the next multiple of the ranks.

    Attention keeps the size of its heads: hidden grows with their number.

    >>> fitted("tensor", {"hidden": 1024, "heads": 16, "feed_forward": 4096}, 3)
    {'hidden': 1152, 'heads': 18, 'feed_forward': 4098}
    """
    made = dict(shape)
    if part in ("tensor", "decode", "three_d"):
        parts = 2 if part == "three_d" else ranks  # 2 x 2 x 2
        head_size = made["hidden"] // made["heads"]
        made["heads"] = multiple(made["heads"], parts)
        made["hidden"] = made["heads"] * head_size
        made["feed_forward"] = multiple(made["feed_forward"], parts)
    elif part == "moe":
        made["experts"] = multiple(made["experts"], ranks)
    elif part == "pipeline":
        made["layers"] = max(made["layers"], ranks)
    return made


def multiple(number: int, of: int) -> int:
    """The next multiple that is not less."""
    return -(-number // of) * of


def skipped(part: str, resources: Resources) -> str:
    """Why a part can't be run here; empty when it can."""
    if part in ON_GPUS and resources.backend != "nccl":
        return "needs NVIDIA GPUs and NCCL"
    if part not in ALONE and resources.ranks < 2:
        return (
            "needs two GPUs or more" if resources.backend == "nccl" else "needs two ranks or more"
        )
    if part in ON_ONE_RIG and resources.nodes > 1:
        return "is run on one rig alone"
    if part == "three_d" and resources.ranks != THREE_D_RANKS:
        return f"needs {THREE_D_RANKS} ranks (2 x 2 x 2), and there are {resources.ranks}"
    if part in NEEDS_NUMPY and not resources.numpy:
        return "needs numpy, which is not installed"
    return ""


def make(
    name: str,
    resources: Resources,
    parts: Sequence[str] = (),
    changes: Mapping[str, Any] | None = None,
) -> Plan:
    """The plan of this name on this ground.

    parts: those that are wanted; none means all of the plan's. changes: options of the command
    line that stand in place of the plan's own: min_bytes, max_bytes (bytes), factor, repeats.
    """
    tables = json.loads(TABLE.read_text(encoding="utf-8"))[resources.backend]
    table, quick = tables[name], tables["quick"]["parts"]
    known = table["parts"]
    wanted = [part for part in PARTS if part in parts] if parts else list(known)
    # A part that this backend's table lacks is told with its reason where it was asked for.
    made = tuple(
        Part(part, _options(part, known.get(part, {}), quick, resources, changes or {}), reason)
        for part in wanted
        if (reason := skipped(part, resources)) or True
    )
    return Plan(made, table["deadline_seconds"], table["patience_seconds"])


def _options(
    part: str,
    own: Mapping[str, Any],
    quick: Mapping[str, Any],
    resources: Resources,
    changes: Mapping[str, Any],
) -> dict[str, Any]:
    """quick: the quick plan's parts, for GPUs with too little memory."""
    options = dict(own)
    if "repeats" in options and "repeats" in changes:
        options["repeats"] = changes["repeats"]
    for key in ("size_bytes", "min_bytes", "max_bytes"):
        if key in options:
            options[key] = size(options[key])
    if part in ("collectives", "pairs"):
        least = changes.get("min_bytes", options.pop("min_bytes"))
        most = changes.get("max_bytes", options.pop("max_bytes"))
        if part == "pairs":
            options["sizes_bytes"] = sorted({least, most})
        else:
            factor = changes.get("factor", options.pop("factor"))
            options["sizes_bytes"] = sizes(least, most, factor)
    if "memory" in options:
        small = fitted(part, quick[part]["shape"], resources.ranks)
        options["small"] = {"below_bytes": size(options.pop("memory")), "shape": small}
    if "shape" in options:
        options["shape"] = fitted(part, options["shape"], resources.ranks)
    return options

"""gemm: floating point operations per second of a matrix product, by data type and rank.

All ranks compute at once, as in training, so that power supply and cooling affect the result.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

import torch

from agent.bench import text_tables
from agent.bench.collectives.pattern import count_wrong_values
from agent.bench.communicator import DTYPES, Communicator
from agent.bench.entries import GemmEntry, Share
from agent.bench.environment import describe_gpu
from agent.bench.timing import time_call, warm_up_device

CHECKED_ROWS = 64


def run(comm: Communicator, options: Mapping[str, Any]) -> Share:
    """Options: dtypes, size (of the square matrices), repeats."""
    size, entries = options["size"], []
    # Sums are computed in float32 and rounded once, at the end.
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    for line in text_tables.format_gemm_heading():
        comm.line(line)
    for name in options["dtypes"]:
        if name == "bfloat16" and not comm.has_bfloat16():
            continue
        left, right = (_create_matrix(size, seed, DTYPES[name], comm.device) for seed in (1, 2))
        product = torch.empty_like(left)

        def multiply() -> None:
            torch.mm(left, right, out=product)  # noqa: B023  called at once

        warm_up_device(comm, multiply)
        times = []
        for number in range(options["repeats"]):
            comm.progress.report_position(f"gemm {name}, repeat {number + 1}")
            times.append(time_call(comm, multiply))
        seconds = statistics.median(times)
        measured: GemmEntry = {
            "rank": comm.rank,
            "gpu": describe_gpu(comm.local_rank)[0] if comm.device.type == "cuda" else None,
            "dtype": name,
            "size": size,
            "time_seconds": seconds,
            "times": times,
            "flops_per_second": 2 * size**3 / seconds,
            "wrong_values": _count_wrong(left, right, product),
        }
        for entry in comm.gather(measured):
            entries.append(entry)
            comm.line(text_tables.format_gemm_row(entry))
    return {"gemm": entries}


def _create_matrix(size: int, seed: int, dtype: torch.dtype, device: torch.device) -> Any:
    """Return whole numbers from -1 to 1, whose sums are exact in any order."""
    generator = torch.Generator(device).manual_seed(seed)
    return torch.randint(-1, 2, (size, size), generator=generator, device=device).to(dtype)


def _count_wrong(left: Any, right: Any, product: Any) -> int:
    """Count wrong elements in the first rows, compared with exact sums that are rounded once."""
    rows = left[:CHECKED_ROWS].double() @ right.double()
    return count_wrong_values(product[:CHECKED_ROWS], rows.to(product.dtype))

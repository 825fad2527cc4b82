"""Timing on a GPU, with substitutes for CUDA."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import torch

from agent.bench import gemm, timing
from agent.bench.communicator import Communicator
from agent.bench.progress import ProgressWriter
from tests.torch.test_stand_ins import Alone


def test_gpu_is_warmed_up_before_timing(monkeypatch: pytest.MonkeyPatch) -> None:
    comm = Alone(0, 1, 0, "gloo", torch.device("cpu"), ProgressWriter(None, 0))
    calls: list[str] = []
    monkeypatch.setattr(timing, "WARM_SECONDS", 0.1)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: time.sleep(0.01))
    on_gpu = Alone(0, 1, 0, "nccl", torch.device("cuda"), comm.progress)
    timing.warm_up_device(on_gpu, lambda: calls.append("product"))
    assert len(calls) > 2, "until the time is over"
    calls.clear()
    monkeypatch.setattr(gemm, "warm_up_device", lambda comm, call: calls.append("warmed"))

    def time_call(comm: Communicator, call: Callable[[], object]) -> float:
        calls.append("timed")
        call()
        return 1.0

    monkeypatch.setattr(gemm, "time_call", time_call)
    gemm.run(comm, {"dtypes": ["float32"], "size": 8, "repeats": 2})
    assert calls == ["warmed", "timed", "timed"]

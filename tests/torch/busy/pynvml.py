"""In place of NVML: one GPU, and on it the program whose number is in the file BUSY names.

A character is added to BUSY.looks each time.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace


class NVMLError(Exception):
    pass


def nvmlInit() -> None:
    pass


def nvmlDeviceGetCount() -> int:
    return 1


def nvmlDeviceGetHandleByIndex(index: int) -> int:
    return index


def nvmlDeviceGetPciInfo(gpu: int) -> SimpleNamespace:
    return SimpleNamespace(busId="00000000:04:00.0")


def nvmlDeviceGetUtilizationRates(gpu: int) -> SimpleNamespace:
    return SimpleNamespace(gpu=0)


def nvmlDeviceGetComputeRunningProcesses(gpu: int) -> list[SimpleNamespace]:
    file = Path(os.environ["BUSY"])
    with file.with_name(f"{file.name}.looks").open("a") as looks:
        looks.write(".")
    return [SimpleNamespace(pid=int(file.read_text()))] if file.exists() else []

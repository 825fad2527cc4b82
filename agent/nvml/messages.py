"""The messages between the agent and the process that asks NVML (child.py describes them).

child.py imports this module for its types only: it has to import little.
"""

from __future__ import annotations

from typing import Any, TypedDict


class SampleRequest(TypedDict):
    """What the agent asks once a sample. gpus: PCIe addresses."""

    sample: int
    gpus: list[str]
    throughput: bool


class DriverFields(TypedDict):
    """What the process knows of a driver that does not work. library: NVML's file."""

    state: str
    detail: str
    library: str | None


class WorkingDriverFields(DriverFields):
    """What NVML reports about a driver that works."""

    driver_version: str
    nvml_version: str
    cuda_version: str | None


class DriverMessage(TypedDict):
    """The first message."""

    driver: DriverFields | WorkingDriverFields


class XidMessage(TypedDict):
    """Xids: pairs of a PCIe address and a number."""

    xids: list[list[str | int]]


class _GpuMessage(TypedDict):
    sample: int
    address: str


class GpuMessage(_GpuMessage, total=False):
    """The answer of one GPU, with `seconds` that it took.

    reading: the fields of a GpuReading. error, code: why there is none. busy: for how many seconds
    the call before has not ended.
    """

    seconds: float
    reading: dict[str, Any]
    error: str
    code: int
    busy: float

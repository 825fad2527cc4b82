"""A sample: all readings of one moment, what is expected of them, and the verdicts.

agent/sampling/sampler.py takes one every interval. It never changes afterwards, and everything that
the agent serves is made from it: metrics, the API's document, the status page.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from agent.checks.judgements import Status
from agent.configuration.expectations import Expectations
from agent.readings.host import HostReading
from agent.readings.links import PciePath, PortReading
from agent.readings.nccl import CollectiveResults
from agent.readings.nvml import DriverReading, GpuReading
from agent.readings.system import SystemState
from agent.readings.validation import Validation
from agent.readings.xid import XidCount

RIG = "rig"  # the subject of a verdict that is not about a single GPU


@dataclass(frozen=True)
class Verdict:
    """A reading against its expectation. check: a row of tables/checks.yml.

    subject: a GPU's PCIe address, a collective ("all_reduce nccl 3"), or `rig`.
    """

    check: str
    subject: str
    status: Status
    reading: str
    expectation: str
    title: str = ""
    why: str = ""
    advice: str = ""


@dataclass(frozen=True)
class GpuState:
    """A GPU that the PCIe bus or NVML shows, whether it answers now or not.

    uuid and index are the last known ones. reading is None while NVML does not answer for the GPU,
    and problem then gives the reason. read_at: Unix seconds of the last answer.
    """

    address: str
    index: int | None = None
    uuid: str | None = None
    name: str = ""
    reading: GpuReading | None = None
    problem: str = ""
    read_at: float | None = None
    read_duration_seconds: float | None = None

    @property
    def up(self) -> bool:
        """Whether NVML answered for the GPU in this sample."""
        return self.reading is not None


@dataclass(frozen=True)
class AgentReading:
    """The agent about itself. The maps are by process: `server`, `nvml`."""

    version: str
    started_at: float
    interval_seconds: float
    samples: int
    reader_restarts: int
    duration_seconds: Mapping[str, float]
    cpu_seconds: Mapping[str, float]
    resident_bytes: Mapping[str, int]


@dataclass(frozen=True)
class Sample:
    """Everything of one moment. taken_at: Unix seconds."""

    taken_at: float
    driver: DriverReading
    gpus: tuple[GpuState, ...]
    ports: tuple[PortReading, ...]
    paths: tuple[PciePath, ...]
    xids: tuple[XidCount, ...]
    host: HostReading
    nccl: CollectiveResults
    agent: AgentReading
    expectations: Expectations
    verdicts: tuple[Verdict, ...] = field(default=())
    validation: Validation | None = None
    system: SystemState | None = None

    @property
    def booted_at(self) -> float | None:
        """When the host booted, in Unix seconds of its current clock."""
        since = self.host.boot_clock_seconds
        return None if since is None else round(self.taken_at - since, 1)

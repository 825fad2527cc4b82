"""A published sample of a host without GPUs, for what serves it."""

from __future__ import annotations

from agent.checks.sample import AgentReading, Sample
from agent.configuration.expectations import Expectations
from agent.readings.host import HostReading
from agent.readings.nccl import Results
from agent.readings.nvml import DriverReading
from agent.sampling.sampler import Published

SAMPLE = Sample(
    taken_at=1_795_507_200.0,
    driver=DriverReading("missing"),
    gpus=(),
    ports=(),
    paths=(),
    xids=(),
    host=HostReading(name="rig"),
    nccl=Results(),
    agent=AgentReading("0", 0.0, 5.0, 1, 0, {}, {}, {}),
    expectations=Expectations(),
)


def published(words: str = "first") -> Published:
    """With a text that tells one sample from another."""
    return Published(SAMPLE, f"# {words} classic\n".encode() * 99, f"# {words} OM\n".encode() * 99)

"""A published sample of a host without GPUs."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from agent.checks.sample import AgentReading, Sample
from agent.configuration.expectations import Expectations
from agent.readings.host import HostReading
from agent.readings.nccl import CollectiveResults
from agent.readings.nvml import DriverReading
from agent.sampling.sampler import PublishedSample
from agent.web.negotiation import choose_format

SAMPLE = Sample(
    taken_at=1_795_507_200.0,
    driver=DriverReading("missing"),
    gpus=(),
    ports=(),
    paths=(),
    xids=(),
    host=HostReading(name="rig"),
    nccl=CollectiveResults(),
    agent=AgentReading("0", 0.0, 5.0, 1, 0, {}, {}, {}),
    expectations=Expectations(),
)


class OneMetric(Collector):
    """Metrics that tell one sample from another. collected: how often they were collected."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.collected = 0

    def collect(self) -> Iterator[Metric]:
        self.collected += 1
        yield GaugeMetricFamily(self.name, "Help that compresses well. " * 99, 1)


def publish_sample(name: str = "first") -> PublishedSample:
    return PublishedSample(SAMPLE, OneMetric(name))


def encode_classic(name: str = "first") -> bytes:
    """The sample in the classic format."""
    return generate_latest(OneMetric(name))


def encode_new(name: str = "first") -> bytes:
    """The sample in OpenMetrics."""
    encode, _ = choose_format("application/openmetrics-text")
    return encode(OneMetric(name))

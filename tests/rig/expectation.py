"""The expected value of a measured bandwidth, derived from the links, with the reason."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent import tables
from agent.checks.judgements import judge_bandwidth
from agent.readings import sharing
from agent.readings.rates import COPY_SHARE, bandwidth
from agent.readings.sharing import Passage
from tests.rig.proof import Status


@dataclass(frozen=True)
class Threshold:
    """Bytes per second. shares: parts of `expected` below which the status is not ok."""

    expected: float
    shares: Shares
    reason: str

    @property
    def minimum(self) -> float:
        """Lower values are a warning."""
        return self.expected * self.shares.warning

    def status(self, value: float) -> Status:
        """Judge a measured value."""
        return judge_bandwidth(value, self.expected, self.shares.warning, self.shares.critical)


@dataclass(frozen=True)
class Shares:
    """Parts of the expected value below which a value is a warning or critical."""

    warning: float
    critical: float

    def wanted(self, value: float, reason: str) -> Threshold:
        """Return the threshold of an expected value, with its reason."""
        words = f"{reason}; at least {self.warning:.0%} of that, less than {self.critical:.0%}"
        return Threshold(value, self, f"{words} is critical")


def read_shares(expected: Mapping[str, Any]) -> Shares:
    """Return the agent's thresholds, with the changes of the inventory."""
    limits = read_thresholds(expected)
    return Shares(limits["bus_bandwidth_warning"], limits["bus_bandwidth_critical"])


def read_thresholds(expected: Mapping[str, Any]) -> dict[str, float]:
    """Return the agent's thresholds, with the changes of the inventory."""
    changes = expected.get("thresholds") or {}
    return {name: float(value) for name, value in {**tables.load("thresholds"), **changes}.items()}


def copy(path: Mapping[str, Any], shares: Shares) -> Threshold | None:
    """Return the threshold of a copy over a path; None if its link is unknown."""
    width, speed = path.get("width"), path.get("max_speed")
    carried = bandwidth(width, speed)
    if not carried or not speed:
        return None
    value = carried * COPY_SHARE
    return shares.wanted(
        value,
        f"x{width} at {speed / 1e9:g} GT/s carries {carried / 1e9:.2f} GB/s, "
        f"a copy reaches {COPY_SHARE:.0%} of it",
    )


def collective(
    paths: Sequence[Mapping[str, Any]], devices: Iterable[Mapping[str, Any]], shares: Shares
) -> Threshold | None:
    """Of a collective's bus bandwidth: what NCCL counts the slowest path for.

    paths, devices: of the agent's document (docs/api.md).
    """
    by_address = {
        device["address"]: Passage(
            device["address"], device["current_width"], device["max_speed"], device["vendor_id"]
        )
        for device in devices
    }
    own_links = {
        path["address"]: Passage(path["address"], path["width"], path["max_speed"])
        for path in paths
    }
    ways = {path["address"]: [by_address[device] for device in path["devices"]] for path in paths}
    if not own_links or not (link := sharing.find_slowest(own_links, ways)).bandwidth:
        return None
    return shares.wanted(
        link.bandwidth,
        f"NCCL counts x{link.width} at {(link.speed or 0) / 1e9:g} GT/s "
        f"({link.place}, the slowest) for {link.bandwidth / 1e9:.2f} GB/s",
    )

"""Whether one value is good enough: every such judgement of the project is made here.

Pure functions of numbers; the agent, `fab validate` (tests/rig), the checklist and the assessment
of used cards call them. None means that a value is unknown. Limits that the hardware does not
report are in tables/thresholds.yml, and can be overridden for a rig.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf
from typing import Literal

from agent.readings.command_line import list_parameters

Status = Literal["ok", "warning", "critical", "unknown"]
STATUSES: tuple[Status, ...] = ("ok", "warning", "critical", "unknown")


def judge_width(width: int | None, expected: int | None) -> Status:
    """Judge a link or path by its lanes: half of what is expected, or less, is critical.

    >>> judge_width(4, 4), judge_width(12, 16), judge_width(8, 16), judge_width(None, 16)
    ('ok', 'warning', 'critical', 'unknown')
    """
    if width is None or expected is None:
        return "unknown"
    if width >= expected:
        return "ok"
    return "critical" if width * 2 <= expected else "warning"


def limit_to_card(width: int, card_width: int | None) -> int:
    """Return the lanes that a card can use of a width that is expected of every card.

    card_width: the card's lanes; small cards and mining cards have fewer than 16.

    >>> limit_to_card(16, 4), limit_to_card(16, None)
    (4, 16)
    """
    return min(width, card_width) if card_width else width


def judge_speed(speed: float | None, expected: float | None) -> Status:
    """Judge the speed that a path had under load: less than half is critical.

    The unit is the same for both, transfers per second or GT/s. A speed at idle means nothing,
    unless it is as high as expected.

    >>> judge_speed(8e9, 8e9), judge_speed(5e9, 8e9), judge_speed(2.5e9, 8e9)
    ('ok', 'warning', 'critical')
    """
    if speed is None or expected is None:
        return "unknown"
    if speed >= expected:
        return "ok"
    return "warning" if speed * 2 >= expected else "critical"


def judge_pcie_errors(
    counts: Mapping[str, float], warning: float = 1, critical: float = inf
) -> Status:
    """Judge errors of a device by severity (correctable, nonfatal, fatal): others than corrected
    ones are critical.

    warning, critical: how many corrected ones are.

    >>> judge_pcie_errors({"correctable": 3}), judge_pcie_errors({"correctable": 0, "fatal": 1})
    ('warning', 'critical')
    """
    if any(count > 0 for severity, count in counts.items() if severity != "correctable"):
        return "critical"
    corrected = counts.get("correctable", 0)
    if corrected >= critical:
        return "critical"
    return "warning" if corrected >= warning else "ok"


def judge_link_changes(count: float, warning: float, critical: float) -> Status:
    """Judge how often a link changed its width, or its speed under load."""
    if count >= critical:
        return "critical"
    return "warning" if count >= warning else "ok"


@dataclass(frozen=True)
class HeatLimits:
    """Temperatures in °C: the card's limit, and those from which a verdict is not ok."""

    limit: float
    warning: float
    critical: float


def find_heat_limits(limits: Mapping[str, float], thresholds: Mapping[str, float]) -> HeatLimits:
    """Return the limits of a card.

    limits: what NVML reports (slowdown, max_operating), may be empty. thresholds:
    tables/thresholds.yml.
    """
    limit = limits.get("slowdown") or thresholds["temperature_slowdown_celsius"]
    limit = min(limit, limits.get("max_operating", limit))
    return HeatLimits(
        limit,
        limit - thresholds["temperature_margin_warning"],
        limit - thresholds["temperature_margin_critical"],
    )


def judge_temperature(celsius: float, limits: HeatLimits) -> Status:
    """Judge a GPU's temperature by the one at which it slows down."""
    if celsius >= limits.critical:
        return "critical"
    return "warning" if celsius >= limits.warning else "ok"


def judge_gpu_count(on_bus: int, expected: int | None) -> Status:
    """Judge the number of GPUs on the bus; without an expectation one is enough."""
    if expected is None:
        return "ok" if on_bus else "critical"
    if on_bus > expected:
        return "warning"
    return "ok" if on_bus == expected else "critical"


def judge_memory_errors(
    uncorrected: float, is_remap_pending: bool, is_remap_failed: bool, lost_rows: int = 0
) -> Status:
    """Judge a GPU's memory by its ECC errors and by the spare rows that replace worn ones.

    uncorrected: errors since the driver was loaded. lost_rows: rows or pages that uncorrectable
    errors have cost in the card's life; the agent, which repeats its verdict for ever, leaves it
    out.
    """
    if is_remap_failed or uncorrected:
        return "critical"
    return "warning" if is_remap_pending or lost_rows else "ok"


def hides_pcie_errors(command_line: Iterable[str]) -> bool:
    """Return whether the kernel's command line switches off the counting of PCIe errors (AER).

    Mining systems do so: a bad riser then only shows as wrong results.
    """
    return "pci=noaer" in list_parameters(command_line)


def judge_bandwidth(value: float, expected: float, warning: float, critical: float) -> Status:
    """Judge a measured bandwidth. warning, critical: shares of what is expected.

    >>> judge_bandwidth(0.5, 1.0, warning=0.7, critical=0.4)
    'warning'
    """
    if value < critical * expected:
        return "critical"
    return "warning" if value < warning * expected else "ok"


def judge_free_disk(free_bytes: float, thresholds: Mapping[str, float]) -> Status:
    """Judge the free space of a file system."""
    if free_bytes < thresholds["disk_free_critical_bytes"]:
        return "critical"
    return "warning" if free_bytes < thresholds["disk_free_warning_bytes"] else "ok"


def require_host_memory(gpus: int, thresholds: Mapping[str, float]) -> float:
    """Return the bytes of host memory that GPUs need, as the kernel counts them.

    Firmware and kernel keep some of what is sold.
    """
    reserved = thresholds["host_memory_kept_by_firmware"]
    return gpus * thresholds["host_memory_per_gpu_bytes"] * (1 - reserved)

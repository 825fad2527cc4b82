"""Latency and bandwidth of a collective from its measured times, by least squares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """t = latency + bytes / bandwidth, in seconds, bytes and bytes per second.

    error: the largest relative difference from a measurement.
    """

    latency: float
    bandwidth: float
    error: float


def line(points: Sequence[tuple[float, float]]) -> Line | None:
    """Return the line through (bytes, seconds) with the least sum of squared relative differences.

    Relative, so that a message of 1 KB counts as much as one of 256 MB. A latency that would come
    out below zero is zero. None where times do not grow with sizes, or without points.
    """
    some = [(size, seconds) for size, seconds in points if size > 0 and seconds > 0]
    if not some:
        return None
    # Minimize sum((a + b x - t) / t)^2: normal equations with weights 1 / t^2.
    weights = [1 / seconds**2 for _, seconds in some]
    total = sum(weights)
    x_mean = sum(w * x for w, (x, _) in zip(weights, some, strict=True)) / total
    t_mean = sum(w * t for w, (_, t) in zip(weights, some, strict=True)) / total
    spread = sum(w * (x - x_mean) ** 2 for w, (x, _) in zip(weights, some, strict=True))
    common = sum(w * (x - x_mean) * (t - t_mean) for w, (x, t) in zip(weights, some, strict=True))
    slope = common / spread if spread > 0 else 0.0
    latency = t_mean - slope * x_mean
    if latency < 0 or spread == 0:  # through the origin
        latency = 0.0
        slope = sum(w * x * t for w, (x, t) in zip(weights, some, strict=True)) / sum(
            w * x * x for w, (x, _) in zip(weights, some, strict=True)
        )
    if slope <= 0:
        return None
    error = max(abs(latency + slope * x - t) / t for x, t in some)
    return Line(latency, 1 / slope, error)

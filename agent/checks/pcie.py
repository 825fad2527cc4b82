"""Checks of the PCIe path: width, speed under load, errors, flapping."""

from __future__ import annotations

from collections.abc import Iterator

from agent.checks.context import CheckContext, format_speed
from agent.checks.judgements import (
    judge_link_changes,
    judge_pcie_errors,
    judge_speed,
    judge_width,
)
from agent.checks.sample import Verdict
from agent.readings.links import PciePath

RISER_WIDTH = 1  # a USB riser has one lane
SEVERITIES = ("fatal", "nonfatal", "correctable")  # the worst first


def check_width(context: CheckContext) -> Iterator[Verdict]:
    """Check the narrowest link of each path. Widths are valid at idle, too."""
    for path in context.sample.paths:
        expected = path.expected_width
        expectation = f"x{expected} ({path.expected_width_from})" if expected else "not known"
        status = judge_width(path.width, expected)
        reading = "not known" if path.width is None else f"x{path.width}"
        if status in ("ok", "unknown"):
            yield context.word_verdict("pcie-width", path.address, status, reading, expectation)
            continue
        port = find_narrow_port(context, path)
        yield context.word_verdict(
            "pcie-width",
            path.address,
            status,
            f"{reading} at {port}",
            expectation,
            explain_width(context, path),
            at=port,
            possible=path.max_width or expected,
            made=find_narrow_device(context, path),
        )


def explain_width(context: CheckContext, path: PciePath) -> str:
    """Return the most likely reason for a narrow path, as tables/checks.yml names it."""
    if context.increases.get(("link_changes", path.address)):
        return "dropped"
    if path.width == RISER_WIDTH:
        return "riser"
    if path.width == path.max_width:  # its narrowest device cannot be wider
        return "made"
    return "slot"


def find_narrow_port(context: CheckContext, path: PciePath) -> str:
    """Return the device above the narrowest link: its slot is where to look."""
    ports = [context.ports[address] for address in path.devices]
    return next(port.address for port in ports if port.current_width == path.width)


def find_narrow_device(context: CheckContext, path: PciePath) -> str:
    """Return the first device that limits the path's width; the GPU's address if none is known."""
    ports = [context.ports[address] for address in path.devices]
    narrow = (port.address for port in ports if port.max_width == path.max_width)
    return next(narrow, path.address)


def check_speed(context: CheckContext) -> Iterator[Verdict]:
    """Check the slowest link of each path under load.

    At idle 2.5 GT/s is normal, so the speed of the last load counts.
    """
    for path in context.sample.paths:
        expected = path.expected_speed
        if path.speed is None or expected is None:
            reading = "not known" if path.speed is None else format_speed(path.speed)
            yield context.word_verdict("pcie-speed", path.address, "unknown", reading, "not known")
            continue
        expectation = f"{format_speed(expected)} under load ({path.expected_speed_from})"
        now = format_speed(path.speed)
        if path.under_load:
            reading, speed = f"{now} under load", path.speed
        elif path.speed >= expected:  # as fast as it must be, although it is idle
            reading, speed = now, path.speed
        elif path.loaded_speed is not None:
            speed = path.loaded_speed
            reading = f"{now} at idle; {format_speed(speed)} when it last worked"
        else:
            reading = f"{now} at idle; no load seen yet"
            yield context.word_verdict(
                "pcie-speed", path.address, "unknown", reading, expectation, "idle"
            )
            continue
        status = judge_speed(speed, expected)
        yield context.word_verdict("pcie-speed", path.address, status, reading, expectation, "slow")


def check_errors(context: CheckContext) -> Iterator[Verdict]:
    """Check the AER counters of every device on a path, and the replays of the GPU's link."""
    thresholds = context.thresholds
    few, many = thresholds["correctable_errors_warning"], thresholds["correctable_errors_critical"]
    expectation = f"fewer than {few:g} corrected ones in {context.window}, no others"
    for path in context.sample.paths:
        if all(context.ports[address].aer is None for address in path.devices):
            yield context.word_verdict(
                "pcie-errors", path.address, "unknown", "not counted", expectation, "hidden"
            )
            continue
        growth = {
            severity: {
                address: context.increases.get(("aer", address, severity), 0)
                for address in path.devices
            }
            for severity in SEVERITIES
        }
        # The device with most errors of each severity.
        worst = {
            severity: max(counts.items(), key=lambda item: item[1])
            for severity, counts in growth.items()
        }
        status = judge_pcie_errors(
            {severity: count for severity, (_, count) in worst.items()}, few, many
        )
        replays = context.increases.get(("replays", path.address), 0)
        corrected = worst["correctable"][1]
        reason = "correctable"
        for severity in ("fatal", "nonfatal"):
            if any(growth[severity].values()):
                address, count = next(
                    (address, count) for address, count in growth[severity].items() if count
                )
                reading = f"{count:g} {severity} in {context.window} at {address}"
                reason = "uncorrectable"
                break
        else:
            if status != "ok":
                address = worst["correctable"][0]
                reading = f"{corrected:g} corrected in {context.window} at {address}"
            elif replays >= thresholds["replays_warning"]:
                status = "warning"
                reading = f"{replays:g} packets sent again in {context.window}"
            else:
                reading = f"{corrected:g} corrected, {replays:g} sent again in {context.window}"
        yield context.word_verdict(
            "pcie-errors", path.address, status, reading, expectation, reason
        )


def check_flapping(context: CheckContext) -> Iterator[Verdict]:
    """Check how often the links of a path changed."""
    thresholds = context.thresholds
    few, many = thresholds["link_changes_warning"], thresholds["link_changes_critical"]
    for path in context.sample.paths:
        count = context.increases.get(("link_changes", path.address), 0)
        yield context.word_verdict(
            "pcie-flapping",
            path.address,
            judge_link_changes(count, few, many),
            f"{count:g} changes in {context.window}",
            f"fewer than {few:g}",
        )


CHECKS = (check_width, check_speed, check_errors, check_flapping)

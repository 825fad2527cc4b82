"""Checks of the PCIe path: width, speed under load, errors, flapping."""

from __future__ import annotations

from collections.abc import Iterator

from agent.checks.context import Context, speed
from agent.checks.sample import Verdict
from agent.readings.links import Path

RISER_WIDTH = 1  # a USB riser has one lane


def width(context: Context) -> Iterator[Verdict]:
    """The narrowest link of the path against what it should be. Holds at idle, too."""
    for path in context.sample.paths:
        wanted = path.expected_width
        expectation = f"x{wanted} ({path.expected_width_from})" if wanted else "not known"
        if path.width is None or wanted is None:
            reading = "not known" if path.width is None else f"x{path.width}"
            yield context.verdict("pcie-width", path.address, "unknown", reading, expectation)
        elif path.width >= wanted:
            yield context.verdict("pcie-width", path.address, "ok", f"x{path.width}", expectation)
        else:
            at = narrow_end(context, path)
            advice = "slot"
            if context.increases.get(("link_changes", path.address)):
                advice = "dropped"
            elif path.width == RISER_WIDTH:
                advice = "riser"
            elif path.width == path.max_width:  # as wide as its narrowest device can be
                advice = "made"
            status = "critical" if path.width * 2 <= wanted else "warning"
            yield context.verdict(
                "pcie-width", path.address, status, f"x{path.width} at {at}", expectation, advice,
                at=at, possible=path.max_width or wanted, made=narrow_device(context, path),
            )  # fmt: skip


def narrow_end(context: Context, path: Path) -> str:
    """The device above the narrowest link: its slot is where to look."""
    ports = [context.ports[address] for address in path.devices]
    return next(port.address for port in ports if port.current_width == path.width)


def narrow_device(context: Context, path: Path) -> str:
    """The first device that can't be wider than the path can; its own address if none tells."""
    ports = [context.ports[address] for address in path.devices]
    narrow = (port.address for port in ports if port.max_width == path.max_width)
    return next(narrow, path.address)


def speed_under_load(context: Context) -> Iterator[Verdict]:
    """The slowest link of the path; at idle 2.5 GT/s is normal, and the last load's speed holds."""
    for path in context.sample.paths:
        wanted = path.expected_speed
        if path.speed is None or wanted is None:
            reading = "not known" if path.speed is None else speed(path.speed)
            yield context.verdict("pcie-speed", path.address, "unknown", reading, "not known")
            continue
        expectation = f"{speed(wanted)} under load ({path.expected_speed_from})"
        if path.under_load:
            reading, seen = f"{speed(path.speed)} under load", path.speed
        elif path.speed >= wanted:  # as fast as it should be, be it at idle
            reading, seen = speed(path.speed), path.speed
        elif path.loaded_speed is not None:
            seen = path.loaded_speed
            reading = f"{speed(path.speed)} at idle; {speed(seen)} when it last worked"
        else:
            reading = f"{speed(path.speed)} at idle; no load seen yet"
            yield context.verdict(
                "pcie-speed", path.address, "unknown", reading, expectation, "idle"
            )
            continue
        status = "ok" if seen >= wanted else "warning" if seen * 2 >= wanted else "critical"
        yield context.verdict("pcie-speed", path.address, status, reading, expectation, "slow")


def errors(context: Context) -> Iterator[Verdict]:
    """AER counters of every device on the path, and the link's own replays."""
    few, many = (
        context.limit("correctable_errors_warning"),
        context.limit("correctable_errors_critical"),
    )
    expectation = f"fewer than {few:g} corrected ones in {context.window}, no others"
    for path in context.sample.paths:
        ports = [context.ports[address] for address in path.devices]
        if all(port.aer is None for port in ports):
            yield context.verdict(
                "pcie-errors", path.address, "unknown", "not counted", expectation, "hidden"
            )
            continue
        grown = {
            (address, severity): context.increases.get(("aer", address, severity), 0)
            for address in path.devices
            for severity in ("correctable", "nonfatal", "fatal")
        }
        bad = {
            (address, severity): grown[address, severity]
            for severity in ("fatal", "nonfatal")  # the worst first
            for address in path.devices
            if grown[address, severity]
        }
        (worst, _), corrected = max(
            ((key, count) for key, count in grown.items() if key[1] == "correctable"),
            key=lambda item: item[1],
        )
        replays = context.increases.get(("replays", path.address), 0)
        if bad:
            (address, severity), count = next(iter(bad.items()))
            yield context.verdict(
                "pcie-errors", path.address, "critical",
                f"{count:g} {severity} in {context.window} at {address}", expectation,
                "uncorrectable",
            )  # fmt: skip
        elif corrected >= few or replays >= context.limit("replays_warning"):
            status = "critical" if corrected >= many else "warning"
            reading = f"{corrected:g} corrected in {context.window} at {worst}"
            if corrected < few:
                reading = f"{replays:g} packets sent again in {context.window}"
            yield context.verdict(
                "pcie-errors", path.address, status, reading, expectation, "correctable"
            )
        else:
            reading = f"{corrected:g} corrected, {replays:g} sent again in {context.window}"
            yield context.verdict("pcie-errors", path.address, "ok", reading, expectation)


def flapping(context: Context) -> Iterator[Verdict]:
    """How often the path's links changed."""
    few, many = context.limit("link_changes_warning"), context.limit("link_changes_critical")
    for path in context.sample.paths:
        count = context.increases.get(("link_changes", path.address), 0)
        status = "critical" if count >= many else "warning" if count >= few else "ok"
        yield context.verdict(
            "pcie-flapping", path.address, status,
            f"{count:g} changes in {context.window}", f"fewer than {few:g}",
        )  # fmt: skip


CHECKS = (width, speed_under_load, errors, flapping)

"""Checks of what NVML and the driver report: presence, heat, power, memory, Xids."""

from __future__ import annotations

from collections.abc import Iterator

from agent.checks.context import CheckContext, format_duration, format_size
from agent.checks.judgements import (
    Status,
    find_heat_limits,
    judge_gpu_count,
    judge_memory_errors,
    judge_temperature,
)
from agent.checks.sample import RIG, Verdict

WATTS_OFF = 1  # NVML may round a limit
HEAT = ("sw_thermal", "hw_thermal", "hw_slowdown")
DRIVER_READINGS = {
    "missing": "not loaded",
    "library": "no NVML library",
    "mismatch": "library and module do not match",
    "unresponsive": "does not answer",
    "starting": "is being initialised",
}
GPU_READINGS = {
    "lost": "fell off the bus",
    "hung": "a call hangs",
    "absent": "on the bus, but not in NVML",
}


def check_driver(context: CheckContext) -> Iterator[Verdict]:
    """Check that the driver is loaded, matches its library, and answers."""
    driver = context.sample.driver
    expectation = "a driver that answers"
    if driver.state == "ok":
        reading = f"{driver.driver_version} answers"
        yield context.word_verdict("driver", RIG, "ok", reading, expectation)
        return
    reading = DRIVER_READINGS[driver.state]
    if driver.detail:
        reading = f"{reading}: {driver.detail}"
    if driver.state == "missing" and context.sample.host.nouveau_loaded:
        reading = f"{reading}; nouveau holds the GPUs"
    status: Status = "unknown" if driver.state == "starting" else "critical"
    host = context.sample.host.name
    yield context.word_verdict("driver", RIG, status, reading, expectation, driver.state, host=host)


def check_count(context: CheckContext) -> Iterator[Verdict]:
    """Check the number of GPUs on the bus."""
    sample = context.sample
    on_bus = len(sample.paths)
    answering = sum(gpu.up for gpu in sample.gpus)
    reading = f"{on_bus} on the bus, {answering} answering"
    expected = sample.expectations.gpus
    expectation = (
        "not known (gpus in the agent's configuration)"
        if expected is None
        else f"{expected} ({sample.expectations.gpus_from})"
    )
    status = judge_gpu_count(on_bus, expected)
    yield context.word_verdict("gpu-count", RIG, status, reading, expectation)


def check_answers(context: CheckContext) -> Iterator[Verdict]:
    """Check that NVML answers for each GPU. Without a driver, check_driver reports the problem."""
    for gpu in context.sample.gpus:
        if gpu.up:
            yield context.word_verdict("gpu-answers", gpu.address, "ok", "answers", "answers")
            continue
        problem, _, detail = gpu.problem.partition(": ")
        if problem in ("", "driver"):
            yield context.word_verdict(
                "gpu-answers", gpu.address, "unknown", "no driver", "answers", "driver"
            )
            continue
        reading = GPU_READINGS.get(problem, detail)
        yield context.word_verdict(
            "gpu-answers", gpu.address, "critical", reading, "answers", problem, problem=detail
        )


def check_temperature(context: CheckContext) -> Iterator[Verdict]:
    """Check the temperature against the one at which the card slows down."""
    for gpu in context.gpus:
        reading = gpu.reading
        if reading is None or reading.temperature_celsius is None:
            continue
        limits = find_heat_limits(reading.temperature_limits_celsius or {}, context.thresholds)
        celsius = reading.temperature_celsius
        yield context.word_verdict(
            "gpu-temperature",
            gpu.address,
            judge_temperature(celsius, limits),
            f"{celsius:g} °C",
            f"below {limits.warning:g} °C (the card's limit is {limits.limit:g} °C)",
        )


def check_heat_throttling(context: CheckContext) -> Iterator[Verdict]:
    """Check the driver's reasons for lower clocks: none of them is heat."""
    for gpu in context.gpus:
        events = gpu.reading.clocks_events if gpu.reading else None
        if events is None:
            continue
        active = [name for name in HEAT if events.get(name)]
        status: Status = "warning" if active else "ok"
        if events.get("hw_thermal") or events.get("hw_slowdown"):
            status = "critical"
        reading = ", ".join(active) or "not slowed down"
        yield context.word_verdict(
            "gpu-throttle-heat", gpu.address, status, reading, "no such reason"
        )


def check_power_throttling(context: CheckContext) -> Iterator[Verdict]:
    """Check that a power limit costs little of the clock, and that no power brake is active."""
    least = context.thresholds["power_cap_clock_share"]
    expectation = f"under a limit at least {least:.0%} of the highest clock"
    for gpu in context.gpus:
        reading = gpu.reading
        if reading is None or reading.clocks_events is None:
            continue
        if reading.clocks_events.get("hw_power_brake"):
            yield context.word_verdict(
                "gpu-throttle-power", gpu.address, "critical", "power brake", expectation, "brake"
            )
            continue
        highest = (reading.max_clocks_hertz or {}).get("graphics")
        clock = (reading.clocks_hertz or {}).get("graphics")
        if not reading.clocks_events.get("sw_power_cap") or not highest or clock is None:
            yield context.word_verdict(
                "gpu-throttle-power", gpu.address, "ok", "not slowed down", expectation
            )
            continue
        share = clock / highest
        limit = f"{reading.power_limit_watts:g} W" if reading.power_limit_watts else "?"
        yield context.word_verdict(
            "gpu-throttle-power",
            gpu.address,
            "ok" if share >= least else "warning",
            f"at its limit of {limit}, {share:.0%} of the highest clock",
            expectation,
            "cap",
            limit=limit,
            share=f"{share:.0%}",
        )


def check_power_limit(context: CheckContext) -> Iterator[Verdict]:
    """Check that a card has the power limit that its model, or it alone, should have."""
    expectations = context.sample.expectations
    models = {path.address: path.device_id for path in context.sample.paths}
    for gpu in context.gpus:
        watts = gpu.reading.power_limit_watts if gpu.reading else None
        expected = expectations.power_limit(models.get(gpu.address, ""), gpu.uuid)
        if watts is None or expected is None:
            continue
        yield context.word_verdict(
            "gpu-power-limit",
            gpu.address,
            "ok" if abs(watts - expected) <= WATTS_OFF else "warning",
            f"{watts:g} W",
            f"{expected:g} W",
        )


def check_memory(context: CheckContext) -> Iterator[Verdict]:
    """Check how much memory programs can still allocate."""
    share = context.thresholds["memory_free_ratio"]
    for gpu in context.gpus:
        reading = gpu.reading
        if reading is None or reading.memory_free_bytes is None or not reading.memory_size_bytes:
            continue
        is_enough = reading.memory_free_bytes >= share * reading.memory_size_bytes
        free, size = format_size(reading.memory_free_bytes), format_size(reading.memory_size_bytes)
        yield context.word_verdict(
            "gpu-memory",
            gpu.address,
            "ok" if is_enough else "warning",
            f"{free} free of {size}",
            f"{share:.0%} free",
        )


def check_memory_errors(context: CheckContext) -> Iterator[Verdict]:
    """Check ECC errors and replaced rows. A GeForce counts neither and gets no verdict."""
    for gpu in context.gpus:
        reading = gpu.reading
        if reading is None or (reading.ecc_errors is None and reading.remapped_rows is None):
            continue
        uncorrected = (reading.ecc_errors or {}).get("uncorrected", 0)
        is_pending, has_failed = bool(reading.row_remap_pending), bool(reading.row_remap_failed)
        words = f"{uncorrected:g} uncorrected"
        if has_failed:
            words = "no spare row was left"
        elif is_pending and not uncorrected:
            words = "a row is replaced at the next reset"
        status = judge_memory_errors(uncorrected, is_pending, has_failed)
        yield context.word_verdict("gpu-memory-errors", gpu.address, status, words, "none")


def check_xids(context: CheckContext) -> Iterator[Verdict]:
    """Check the Xids of the last day: the worst of each GPU, even if it has left the bus."""
    shown, now = context.thresholds["xid_seconds"], context.sample.taken_at
    order = ("ok", "warning", "critical")
    on_bus = [gpu.address for gpu in context.sample.gpus]
    late = [
        count
        for count in context.sample.xids
        if count.last_at is not None and now - count.last_at < shown
    ]
    gone = {count.address for count in late}.difference(on_bus)
    for address in (*on_bus, *sorted(gone)):
        recent = [(context.xids[count.xid], count) for count in late if count.address == address]
        if not recent:
            reading = f"none in {format_duration(shown)}"
            yield context.word_verdict("gpu-xid", address, "ok", reading, "none")
            continue
        row, count = max(recent, key=lambda item: (order.index(item[0].status), item[1].last_at))
        times = "" if count.count == 1 else f", {count.count} times"
        ago = format_duration(max(now - (count.last_at or now), 1))
        reading = f"Xid {row.number} ({row.name}) {ago} ago{times}"
        yield context.word_verdict("gpu-xid", address, row.status, reading, "none", what=row.advice)


def check_persistence(context: CheckContext) -> Iterator[Verdict]:
    """Check that the driver stays loaded while no program uses the GPU."""
    for gpu in context.gpus:
        is_on = gpu.reading.persistence_mode if gpu.reading else None
        if is_on is not None:
            status, reading = ("ok", "on") if is_on else ("warning", "off")
            yield context.word_verdict("gpu-persistence", gpu.address, status, reading, "on")


CHECKS = (
    check_driver,
    check_count,
    check_answers,
    check_temperature,
    check_heat_throttling,
    check_power_throttling,
    check_power_limit,
    check_memory,
    check_memory_errors,
    check_xids,
    check_persistence,
)

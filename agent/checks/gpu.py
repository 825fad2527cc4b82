"""Checks of what NVML and the driver say: GPUs present and answering, heat, power, memory, Xids."""

from __future__ import annotations

from collections.abc import Iterator

from agent.checks.context import Context, size, span
from agent.checks.sample import RIG, Status, Verdict

HEAT = ("sw_thermal", "hw_thermal", "hw_slowdown")
DRIVER_READINGS = {
    "missing": "not loaded",
    "library": "no NVML library",
    "mismatch": "library and module do not fit",
    "unresponsive": "does not answer",
    "starting": "is being initialised",
}


def driver(context: Context) -> Iterator[Verdict]:
    """Whether the driver is there, fits its library, and answers."""
    found = context.sample.driver
    expectation = "a driver that answers"
    if found.state == "ok":
        reading = f"{found.driver_version} answers"
        yield context.verdict("driver", RIG, "ok", reading, expectation)
        return
    reading = DRIVER_READINGS[found.state]
    if found.detail:
        reading = f"{reading}: {found.detail}"
    if found.state == "missing" and context.sample.host.nouveau_loaded:
        reading = f"{reading}; nouveau holds the GPUs"
    status: Status = "unknown" if found.state == "starting" else "critical"
    host = context.sample.host.name
    yield context.verdict("driver", RIG, status, reading, expectation, found.state, host=host)


def count(context: Context) -> Iterator[Verdict]:
    """How many GPUs there are, and should be."""
    sample = context.sample
    on_bus = len(sample.paths)
    answering = sum(gpu.up for gpu in sample.gpus)
    reading = f"{on_bus} on the bus, {answering} answering"
    wanted = sample.expectations.gpus
    if wanted is None:
        expectation = "not known (gpus in the agent's configuration)"
        status: Status = "ok" if on_bus else "critical"
        yield context.verdict("gpu-count", RIG, status, reading, expectation)
        return
    status = "ok" if on_bus == wanted else "warning" if on_bus > wanted else "critical"
    expectation = f"{wanted} ({sample.expectations.gpus_from})"
    yield context.verdict("gpu-count", RIG, status, reading, expectation)


def answers(context: Context) -> Iterator[Verdict]:
    """Whether NVML answers for each GPU; without a driver at all, that is the driver's verdict."""
    for gpu in context.sample.gpus:
        if gpu.up:
            yield context.verdict("gpu-answers", gpu.address, "ok", "answers", "answers")
            continue
        problem, _, detail = gpu.problem.partition(": ")
        if problem == "" or problem == "driver":
            yield context.verdict("gpu-answers", gpu.address, "unknown", "no driver", "answers",
                                  "driver")  # fmt: skip
            continue
        reading = {
            "lost": "fell off the bus",
            "hung": "a call hangs",
            "absent": "on the bus, but not in NVML",
        }.get(problem, detail)
        yield context.verdict(
            "gpu-answers", gpu.address, "critical", reading, "answers", problem, problem=detail
        )


def temperature(context: Context) -> Iterator[Verdict]:
    """Against the temperature at which the card slows itself down."""
    for gpu in context.gpus:
        reading = gpu.reading
        if reading is None or reading.temperature_celsius is None:
            continue
        limits = reading.temperature_limits_celsius or {}
        limit = limits.get("slowdown") or context.limit("temperature_slowdown_celsius")
        if "max_operating" in limits:
            limit = min(limit, limits["max_operating"])
        now = reading.temperature_celsius
        warm = limit - context.limit("temperature_margin_warning")
        status: Status = "ok"
        if now >= limit - context.limit("temperature_margin_critical"):
            status = "critical"
        elif now >= warm:
            status = "warning"
        yield context.verdict(
            "gpu-temperature", gpu.address, status, f"{now:g} °C",
            f"below {warm:g} °C (the card's limit is {limit:g} °C)",
        )  # fmt: skip


def throttled_by_heat(context: Context) -> Iterator[Verdict]:
    """The driver's own reasons for holding the clocks down."""
    for gpu in context.gpus:
        events = gpu.reading.clocks_events if gpu.reading else None
        if events is None:
            continue
        active = [name for name in HEAT if events.get(name)]
        status: Status = "ok"
        if active:
            status = (
                "critical" if events.get("hw_thermal") or events.get("hw_slowdown") else "warning"
            )
        reading = ", ".join(active) or "not slowed down"
        yield context.verdict("gpu-throttle-heat", gpu.address, status, reading, "no such reason")


def throttled_by_power(context: Context) -> Iterator[Verdict]:
    """A limit set on purpose costs a little; one that costs much, or a brake, is bad."""
    least = context.limit("power_cap_clock_share")
    for gpu in context.gpus:
        reading = gpu.reading
        if reading is None or reading.clocks_events is None:
            continue
        expectation = f"under a limit at least {least:.0%} of the highest clock"
        if reading.clocks_events.get("hw_power_brake"):
            yield context.verdict("gpu-throttle-power", gpu.address, "critical",
                                  "power brake", expectation, "brake")  # fmt: skip
            continue
        most = (reading.max_clocks_hertz or {}).get("graphics")
        now = (reading.clocks_hertz or {}).get("graphics")
        if not reading.clocks_events.get("sw_power_cap") or not most or now is None:
            yield context.verdict(
                "gpu-throttle-power", gpu.address, "ok", "not slowed down", expectation
            )
            continue
        share = now / most
        limit = f"{reading.power_limit_watts:g} W" if reading.power_limit_watts else "?"
        yield context.verdict(
            "gpu-throttle-power", gpu.address, "ok" if share >= least else "warning",
            f"at its limit of {limit}, {share:.0%} of the highest clock", expectation, "cap",
            limit=limit, share=f"{share:.0%}",
        )  # fmt: skip


def memory(context: Context) -> Iterator[Verdict]:
    """What can still be allocated."""
    share = context.limit("memory_free_ratio")
    for gpu in context.gpus:
        reading = gpu.reading
        if reading is None or reading.memory_free_bytes is None or not reading.memory_size_bytes:
            continue
        enough = reading.memory_free_bytes >= share * reading.memory_size_bytes
        yield context.verdict(
            "gpu-memory", gpu.address, "ok" if enough else "warning",
            f"{size(reading.memory_free_bytes)} free of {size(reading.memory_size_bytes)}",
            f"{share:.0%} free",
        )  # fmt: skip


def memory_errors(context: Context) -> Iterator[Verdict]:
    """Of cards that count them; a GeForce does not, and gets no verdict."""
    for gpu in context.gpus:
        reading = gpu.reading
        if reading is None or (reading.ecc_errors is None and reading.remapped_rows is None):
            continue
        uncorrected = (reading.ecc_errors or {}).get("uncorrected", 0)
        status: Status = "ok"
        found = f"{uncorrected:g} uncorrected"
        if reading.row_remap_failed:
            status, found = "critical", "no spare row was left"
        elif uncorrected:
            status = "critical"
        elif reading.row_remap_pending:
            status, found = "warning", "a row is replaced at the next reset"
        yield context.verdict("gpu-memory-errors", gpu.address, status, found, "none")


def xid(context: Context) -> Iterator[Verdict]:
    """Xids of the last day, the worst of each GPU; also of one that the bus does not show now."""
    shown, now = context.limit("xid_seconds"), context.sample.taken_at
    order = ("ok", "warning", "critical")
    there = [gpu.address for gpu in context.sample.gpus]
    late = [
        count
        for count in context.sample.xids
        if count.last_at is not None and now - count.last_at < shown
    ]
    gone = {count.address for count in late}.difference(there)
    for address in (*there, *sorted(gone)):
        recent = [(context.xids[count.xid], count) for count in late if count.address == address]
        if not recent:
            yield context.verdict("gpu-xid", address, "ok", f"none in {span(shown)}", "none")
            continue
        row, count = max(recent, key=lambda item: (order.index(item[0].status), item[1].last_at))
        times = "" if count.count == 1 else f", {count.count} times"
        ago = span(max(now - (count.last_at or now), 1))
        yield context.verdict(
            "gpu-xid", address, row.status,
            f"Xid {row.number} ({row.name}) {ago} ago{times}", "none",
            what=row.advice,
        )  # fmt: skip


def persistence(context: Context) -> Iterator[Verdict]:
    """Whether the driver stays loaded while nothing uses the GPU."""
    for gpu in context.gpus:
        mode = gpu.reading.persistence_mode if gpu.reading else None
        if mode is not None:
            yield context.verdict("gpu-persistence", gpu.address, "ok" if mode else "warning",
                                  "on" if mode else "off", "on")  # fmt: skip


CHECKS = (driver, count, answers, temperature, throttled_by_heat, throttled_by_power, memory,
          memory_errors, xid, persistence)  # fmt: skip

"""Checks of the machine around the GPUs."""

from __future__ import annotations

from collections.abc import Iterator

from agent.checks.context import CheckContext, format_duration, format_size
from agent.checks.judgements import Status, judge_free_disk, require_host_memory
from agent.checks.sample import RIG, Verdict


def check_kernel_parameters(context: CheckContext) -> Iterator[Verdict]:
    """Check what a mining system left on the kernel's command line."""
    hazards = context.sample.host.kernel_hazards
    present = [name for name, is_present in hazards.items() if is_present]
    status: Status = "warning" if present else "ok"
    reading, expectation = ", ".join(present) or "none", f"none of {', '.join(hazards)}"
    yield context.word_verdict("kernel-parameters", RIG, status, reading, expectation)


def check_memory(context: CheckContext) -> Iterator[Verdict]:
    """Check RAM and swap: their size against what the GPUs need, and what is free of them."""
    host = context.sample.host
    if host.memory_size_bytes is None or host.memory_available_bytes is None:
        return
    gpus = context.sample.expectations.gpus or len(context.sample.paths)
    swap = host.swap_size_bytes or 0
    whole = host.memory_size_bytes + swap
    free = host.memory_available_bytes + swap - (host.swap_used_bytes or 0)
    least = context.thresholds["host_memory_available_ratio"]
    status: Status = "ok"
    if free < least * whole:
        status = "critical"
    elif whole < require_host_memory(gpus, context.thresholds):
        status = "warning"
    size = context.thresholds["host_memory_per_gpu_bytes"] * gpus
    yield context.word_verdict(
        "host-memory",
        RIG,
        status,
        f"{format_size(free)} free of {format_size(host.memory_size_bytes)} RAM and "
        f"{format_size(swap)} swap",
        f"{size / 1e9:g} GB for {gpus} GPUs, {least:.0%} of it free",
    )


def check_disk(context: CheckContext) -> Iterator[Verdict]:
    """Check the fullest of the watched folders."""
    free = context.sample.host.disk_free_bytes
    if not free:
        return
    folder = min(free, key=lambda name: free[name])
    expectation = f"{format_size(context.thresholds['disk_free_warning_bytes'])} free"
    yield context.word_verdict(
        "disk-space",
        RIG,
        judge_free_disk(free[folder], context.thresholds),
        f"{format_size(free[folder])} free in {folder}",
        expectation,
        folder=folder,
    )


def check_reboot(context: CheckContext) -> Iterator[Verdict]:
    """Check whether the distribution's packages need a reboot."""
    is_due = context.sample.host.reboot_required
    status, reading = ("warning", "due") if is_due else ("ok", "not due")
    yield context.word_verdict("reboot-required", RIG, status, reading, "not due")


def check_cpu_throttling(context: CheckContext) -> Iterator[Verdict]:
    """Check the kernel's count of slowdowns by heat, which exists for Intel's CPUs only."""
    if context.sample.host.cpu_throttles is None:
        return
    count = context.increases.get(("cpu_throttles",), 0)
    status: Status = "warning" if count else "ok"
    reading = f"{count:g} times in {context.window}"
    yield context.word_verdict("cpu-throttle", RIG, status, reading, "never")


def check_clock(context: CheckContext) -> Iterator[Verdict]:
    """Check that the wall clock does not jump against the time since boot."""
    jump = context.clock_jump
    status, reading = "ok", "steady"
    if jump is not None:
        direction = "ahead" if jump > 0 else "back"
        status, reading = "warning", f"jumped {direction} by {format_duration(abs(jump))}"
    yield context.word_verdict("clock", RIG, status, reading, "steady")


CHECKS = (
    check_kernel_parameters,
    check_memory,
    check_disk,
    check_reboot,
    check_cpu_throttling,
    check_clock,
)

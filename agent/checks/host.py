"""Checks of the machine around the GPUs."""

from __future__ import annotations

from collections.abc import Iterator

from agent.checks.context import Context, size, span
from agent.checks.sample import RIG, Status, Verdict


def kernel_parameters(context: Context) -> Iterator[Verdict]:
    """What a mining system left on the kernel's command line."""
    hazards = context.sample.host.kernel_hazards
    found = [name for name, there in hazards.items() if there]
    expectation = f"none of {', '.join(hazards)}"
    status: Status = "warning" if found else "ok"
    yield context.verdict("kernel-parameters", RIG, status, ", ".join(found) or "none", expectation)


def memory(context: Context) -> Iterator[Verdict]:
    """RAM and swap against what the GPUs need, and what is left of them."""
    host = context.sample.host
    if host.memory_size_bytes is None or host.memory_available_bytes is None:
        return
    gpus = context.sample.expectations.gpus or len(context.sample.paths)
    wanted = context.limit("host_memory_per_gpu_bytes") * gpus
    whole = host.memory_size_bytes + (host.swap_size_bytes or 0)
    free = host.memory_available_bytes + (host.swap_size_bytes or 0) - (host.swap_used_bytes or 0)
    least = context.limit("host_memory_available_ratio")
    status: Status = "ok"
    if free < least * whole:
        status = "critical"
    elif whole < wanted * (1 - context.limit("host_memory_kept_by_firmware")):
        status = "warning"
    yield context.verdict(
        "host-memory", RIG, status,
        f"{size(free)} free of {size(host.memory_size_bytes)} RAM and "
        f"{size(host.swap_size_bytes or 0)} swap",
        f"{wanted / 1e9:g} GB for {gpus} GPUs, {least:.0%} of it free",
    )  # fmt: skip


def disk(context: Context) -> Iterator[Verdict]:
    """The fullest of the watched folders."""
    free = context.sample.host.disk_free_bytes
    if not free:
        return
    folder = min(free, key=lambda name: free[name])
    low, least = context.limit("disk_free_warning_bytes"), context.limit("disk_free_critical_bytes")
    status: Status = "ok"
    if free[folder] < least:
        status = "critical"
    elif free[folder] < low:
        status = "warning"
    yield context.verdict(
        "disk-space", RIG, status, f"{size(free[folder])} free in {folder}",
        f"{size(low)} free", folder=folder,
    )  # fmt: skip


def reboot_required(context: Context) -> Iterator[Verdict]:
    """What the distribution's packages ask for."""
    due = context.sample.host.reboot_required
    yield context.verdict("reboot-required", RIG, "warning" if due else "ok",
                          "due" if due else "not due", "not due")  # fmt: skip


def cpu_throttle(context: Context) -> Iterator[Verdict]:
    """The kernel's own count, which only Intel's CPUs keep."""
    if context.sample.host.cpu_throttles is None:
        return
    count = context.increases.get(("cpu_throttles",), 0)
    yield context.verdict("cpu-throttle", RIG, "warning" if count else "ok",
                          f"{count:g} times in {context.window}", "never")  # fmt: skip


def clock(context: Context) -> Iterator[Verdict]:
    """The wall clock against the time since boot."""
    jump = context.clock_jump
    reading = (
        "steady"
        if jump is None
        else f"jumped {'ahead' if jump > 0 else 'back'} by {span(abs(jump))}"
    )
    yield context.verdict("clock", RIG, "ok" if jump is None else "warning", reading, "steady")


CHECKS = (kernel_parameters, memory, disk, reboot_required, cpu_throttle, clock)

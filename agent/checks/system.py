"""Checks of what the next boot brings, and of the packages, by the state that root writes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from agent.checks.context import CheckContext, format_duration
from agent.checks.judgements import Status
from agent.checks.sample import RIG, Verdict
from agent.readings.system import SystemState

NAMES_MOST = 3  # in a reading; further ones are counted


def check_next_boot(context: CheckContext) -> Iterator[Verdict]:
    """Check that every kernel that may boot has the module of the installed driver.

    No verdict without packages of a driver, or where no state was ever written.
    """
    state = context.sample.system
    if state is None or not state.branches:
        return
    lacking = sorted(release for release, has_driver in state.has_driver.items() if not has_driver)
    module = state.kernels.get(state.next_kernel)
    age = context.sample.taken_at - state.written_at
    status: Status = "ok"
    reason, reading = "", f"{state.next_kernel} with driver {module}"
    if age > context.thresholds["system_state_seconds"]:
        status, reason = "unknown", "old"
        reading = f"not read for {format_duration(age)}"
    elif state.next_kernel in lacking:
        status, reason = "critical", "missing"
        reading = f"{state.next_kernel} without the driver"
    elif state.next_boot_works is False:
        status, reason = "critical", "mismatch"
        reading = f"{state.next_kernel} with module {module}, libraries {state.driver_version}"
    elif lacking:
        status, reason = "warning", "other"
        reading = f"{shorten_list(lacking)} without the driver"
    elif state.next_boot_works is None:
        status, reading = "unknown", "the boot menu does not show which kernel boots next"
    expectation = "every kernel of the boot menu with the installed driver"
    host = context.sample.host.name
    yield context.word_verdict("next-boot", RIG, status, reading, expectation, reason, host=host)


def check_unfinished_packages(context: CheckContext) -> Iterator[Verdict]:
    """Check that dpkg finished every package: it installs nothing else while it has not."""
    state = find_current_state(context)
    if state is None:
        return
    status, reading = "ok", "none"
    if state.unfinished or state.interrupted:
        status, reading = "warning", shorten_list(state.unfinished) or "dpkg was interrupted"
    yield context.word_verdict("unfinished-packages", RIG, status, reading, "none")


def check_driver_packages(context: CheckContext) -> Iterator[Verdict]:
    """Check that all packages of the driver are of one branch and one repository."""
    state = find_current_state(context)
    if state is None or not state.branches:
        return
    status, reason = "ok", ""
    reading = f"{', '.join(state.branches)} ({', '.join(state.origins)})"
    if len(state.branches) > 1:
        status, reason = "warning", "branches"
    elif len(state.origins) > 1:
        status, reason = "warning", "origins"
    host = context.sample.host.name
    expectation = "one branch of one repository"
    yield context.word_verdict(
        "driver-packages", RIG, status, reading, expectation, reason, host=host
    )


def check_driver_holds(context: CheckContext) -> Iterator[Verdict]:
    """Check that no upgrade replaces packages of the driver under the loaded module."""
    state = find_current_state(context)
    if state is None or not state.branches:
        return
    status, reading = "ok", "all held"
    if state.not_held:
        status, reading = "warning", f"{shorten_list(state.not_held)} not held"
    host = context.sample.host.name
    yield context.word_verdict("driver-holds", RIG, status, reading, "all held", host=host)


def find_current_state(context: CheckContext) -> SystemState | None:
    """Return the state unless it is old; the check of the next boot reports that."""
    state = context.sample.system
    if state is None:
        return None
    age = context.sample.taken_at - state.written_at
    return state if age <= context.thresholds["system_state_seconds"] else None


def shorten_list(names: Sequence[str]) -> str:
    """Return the first names, and how many follow."""
    more = f" and {len(names) - NAMES_MOST} more" if len(names) > NAMES_MOST else ""
    return ", ".join(names[:NAMES_MOST]) + more


CHECKS = (
    check_next_boot,
    check_unfinished_packages,
    check_driver_packages,
    check_driver_holds,
)

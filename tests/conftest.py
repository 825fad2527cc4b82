"""The order of the test files, which several processes share, and the slow ones."""

from __future__ import annotations

from pathlib import Path

import pytest

TESTS = Path(__file__).parent
#: Files and folders in the order in which they start; all others follow. The first builds the
#: rigs' image and the layer of a provisioned rig, for which the other lab tests would only wait.
#: Then comes what needs neither, and then the lab's files, the longest first.
FIRST = (
    "lab/validation/test_validate_load.py",
    *("torch", "page", "unit", "monitoring"),
    *("lab/test_provision.py", "lab/validation", "lab/mining/test_flavours.py"),
    *("lab/test_interrupted.py", "lab/adopt", "lab/test_provision_fails.py", "lab/agent"),
)
#: What waits for processes, or for real time: not in `make check`.
SLOW = (
    "torch",
    "unit/agent/simulated",
    "unit/agent/web/test_crowds.py",
    "unit/agent/web/test_deadlines.py",
    "unit/agent/web/test_password_guessing.py",
    "unit/agent/web/test_hosts.py",
    "unit/agent/web/test_http_slow.py",
    "unit/bench/test_processes.py",
    "unit/bench/test_stuck.py",
    "unit/advise/test_candidates.py",
    "unit/advise/test_report.py",
    "unit/agent/test_settings.py",
    "unit/checklist",
    "unit/engine/test_data_flow.py",
    "unit/engine/test_engine.py",
    "unit/lab/test_faults.py",
    "unit/lab/test_hardware.py",
    "unit/validate/test_recorder.py",
    "unit/hostile/test_identity.py",
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the files, and mark what is slow; the order of the tests in a file stays."""
    items.sort(key=lambda item: _rank(item.path))
    for item in items:
        if any(item.path.is_relative_to(TESTS / name) for name in SLOW):
            item.add_marker(pytest.mark.slow)


def _rank(path: Path) -> int:
    return next(
        (rank for rank, name in enumerate(FIRST) if path.is_relative_to(TESTS / name)),
        len(FIRST),
    )

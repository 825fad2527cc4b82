"""Root's file modules while a user swaps the paths that they work on, as fast as possible."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import importlib
import os
import signal
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from provision.remote.host import ModuleFailure, ModuleHost
from provision.remote.options import normalize
from tests.lab.files.attacker import (
    SECRET,
    UID,
    Field,
    as_user,
    field,
    refill,
    running,
    swap_for_ever,
)

OWNER = {"owner": str(UID), "group": str(UID)}
#: What root is asked to do; {path} is a name in the user's folder, {inner} one a folder deeper.
TASKS: list[tuple[str, dict[str, Any]]] = [
    ("file", {"path": "{path}", "state": "directory", **OWNER}),
    ("file", {"path": "{inner}", "state": "directory", **OWNER}),
    ("file", {"path": "{path}", "state": "touch", "mode": "0666", **OWNER}),
    ("file", {"path": "{path}", "state": "file", "mode": "0666", **OWNER}),
    ("file", {"path": "{home}", "recurse": True, "mode": "a+rwX", "follow": False, **OWNER}),
    ("file", {"path": "{home}/pool", "recurse": True, **OWNER}),
    ("file", {"path": "{path}", "state": "absent"}),
    ("file", {"path": "{path}", "state": "link", "src": "{home}/pool/file", "force": True}),
    ("copy", {"dest": "{path}", "content": "{number}", **OWNER}),
    ("copy", {"dest": "{inner}", "content": "{number}", "mode": "0666"}),
    ("copy", {"dest": "{path}", "content": "{number}", "follow": True, "backup": True}),
    ("copy", {"src": "{path}", "dest": "{home}/copied", "remote_src": True, **OWNER}),
    ("copy", {"src": "{home}/pool/", "dest": "{home}/tree", "remote_src": True, **OWNER}),
    ("lineinfile", {"path": "{path}", "line": "{number}", "create": True, "mode": "0666"}),
    ("lineinfile", {"path": "{inner}", "line": "{number}", "create": True, "backup": True}),
    ("blockinfile", {"path": "{path}", "block": "{number}", "create": True, **OWNER}),
    ("replace", {"path": "{path}", "regexp": "e", "replace": "{number}", "backup": True}),
    ("get_url", {"url": "file:///etc/os-release", "dest": "{path}", "force": True, **OWNER}),
    ("cron", {"name": "n{number}", "job": "x", "user": "root", "cron_file": "{path}"}),
    ("tempfile", {"path": "{home}/inner"}),
    ("slurp", {"src": "{path}"}),
    ("stat", {"path": "{path}", "follow": True, "checksum_algorithm": "sha256"}),
    ("find", {"paths": ["{home}"], "recurse": True, "hidden": True, "contains": "root's secret"}),
]


def fill_in(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, str):
        for name, text in names.items():
            value = value.replace(f"{{{name}}}", text)
        return value
    return [fill_in(element, names) for element in value] if isinstance(value, list) else value


@contextlib.contextmanager
def attacked_folder() -> Iterator[Field]:
    with field() as site:
        as_user(lambda: refill(str(site.protected), str(site.home)))
        # Older kernels let users create such links; here root does, and the user moves it.
        os.link(site.secret, site.home / "pool" / "hard")
        yield site


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Fail if root waits without an end, as for a writer of a FIFO."""

    def fail(*_: object) -> None:
        raise AssertionError("root hangs")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(int(seconds))
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def discloses_secret(module: str, result: dict[str, Any]) -> bool:
    """Return whether a result contains the secret, or shows that it was read."""
    digest = hashlib.sha256(f"{SECRET}\n".encode()).hexdigest()
    encoded = base64.b64encode(SECRET.encode()).decode()[:20]
    text = str(result)
    return any(part in text for part in (SECRET, digest, encoded)) or (
        module == "find" and result.get("matched", 0) > 0
    )


def repeat_task(
    module: str, task: dict[str, Any], site: Field, seconds: float
) -> tuple[str, int, int]:
    """Run a task repeatedly; return what the user gained, the runs and the successes."""
    run = importlib.import_module(f"provision.remote.modules.{module}")
    names = {"home": str(site.home), "path": f"{site.home}/t", "inner": f"{site.home}/inner/t"}
    before = site.state()
    end = time.monotonic() + seconds
    runs = succeeded = 0
    while time.monotonic() < end:
        runs += 1
        asked = {key: fill_in(value, {**names, "number": str(runs)}) for key, value in task.items()}
        try:
            result = run.run(normalize(module, run.OPTIONS, asked), ModuleHost())
            succeeded += 1
        except ModuleFailure as refusal:
            result = {"msg": refusal.msg}
        if discloses_secret(module, result):
            return "disclosed root's secret", runs, succeeded
        if site.state() != before:
            return "changed what is root's", runs, succeeded
    return "", runs, succeeded


@pytest.mark.parametrize("seconds", [8.0, pytest.param(40.0, marks=pytest.mark.extended)])
def test_swapping_paths_does_not_disclose_or_change_root_files(seconds: float) -> None:
    """All modules share the time limit."""
    lost: dict[str, str] = {}
    counts: dict[str, tuple[int, int]] = {}
    for module, task in TASKS:
        label = f"{module} {task}"
        with time_limit(3 * seconds), attacked_folder() as site:
            with running(partial(swap_for_ever, str(site.home), "t", str(site.protected))):
                problem, runs, succeeded = repeat_task(module, task, site, seconds / len(TASKS))
            problem = problem or ("handed over root's secret" if site.leaks() else "")
        counts[label] = (runs, succeeded)
        if problem:
            lost[label] = problem
    assert lost == {}
    # Where every run is refused, or none gets through, the test shows nothing.
    assert min(runs for runs, _ in counts.values()) > 10, counts
    never = [label for label, (_, succeeded) in counts.items() if not succeeded]
    assert len(never) <= 5, never

"""apt waits while another process has a lock, and shows which one: the kernel names it."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from provision.remote import apt_get, dpkg
from provision.remote.host import ModuleFailure
from tests.unit.modules.rig import Script, ScriptedHost, create_files, write_packages

FRONTEND = "var/lib/dpkg/lock-frontend"


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """Hold the lock of package managers; the kernel's table shows it in the rig's /proc."""
    with (root / FRONTEND).open("w") as stream:
        fcntl.lockf(stream, fcntl.LOCK_EX)
        (root / "proc/locks").write_text(Path("/proc/locks").read_text())
        yield
    (root / "proc/locks").write_text("")


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ScriptedHost:
    write_packages(tmp_path, {})
    create_files(
        tmp_path, {FRONTEND: "", "proc/locks": "", f"proc/{os.getpid()}/comm": "upgrader\n"}
    )
    monkeypatch.setattr(apt_get, "ROOT", str(tmp_path))
    monkeypatch.setattr(dpkg, "ADMIN", str(tmp_path / "var/lib/dpkg"))
    lines: list[str] = []
    host = ScriptedHost(on_line=lines.append)
    host.script = Script([{"run": "apt-get *"}], tmp_path)
    host.warnings = lines
    return host


@pytest.mark.parametrize("command", ["install", "update"])
def test_wait_ends_with_the_lock_and_shows_its_holder(
    tmp_path: Path, host: ScriptedHost, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    release, taken, ready = threading.Event(), threading.Event(), threading.Event()

    def pause(seconds: float) -> None:
        """Let the other process end in the first pause of the wait."""
        release.set()
        taken.wait(10)

    monkeypatch.setattr("time.sleep", pause)

    def hold() -> None:
        with locked(tmp_path):
            ready.set()
            release.wait(10)
        taken.set()

    thread = threading.Thread(target=hold)
    thread.start()
    ready.wait(10)
    if command == "install":
        apt_get.apt_get(host, ["install", "x"], 600)
    else:
        apt_get.update(host, 600, 1, 1)
    thread.join()
    assert host.warnings == [
        f"upgrader (process {os.getpid()}) has locked /{FRONTEND}: waiting, up to 600 s more"
    ]
    assert host.script
    assert len(host.script.ran) == 1


def test_wait_that_is_too_long_names_the_process(tmp_path: Path, host: ScriptedHost) -> None:
    with (
        locked(tmp_path),
        pytest.raises(ModuleFailure, match=rf"upgrader \(process {os.getpid()}\)"),
    ):
        apt_get.apt_get(host, ["install", "x"], 0)
    assert host.script
    assert host.script.ran == []

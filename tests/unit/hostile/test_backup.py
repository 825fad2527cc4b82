"""A malicious rig's backup: its list is limited, and its files must match the list."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any, cast

import pytest

from provision.backup import stored, transfer
from provision.backup.stored import FOLDER, StoredBackup
from provision.engine.reports.run_log import RunLog
from provision.errors import DeeprigError
from provision.output.files import write_named
from provision.ssh.shell import RootShell
from tests.unit.hostile.fake_rig import FakeConnection


def shell(*pieces: bytes) -> RootShell:
    return RootShell(cast(Any, FakeConnection(iter(pieces))), None)


@pytest.mark.parametrize(
    "line",
    [
        "file\t../../etc/cron.d/x\t10\t1700000000",
        "file\tpackages/../../x\t10\t1700000000",
        "file\tbefore.tar.gz\t-5\t1700000000",
        "file\tbefore.tar.gz\tnan\t1700000000",
        "file\tbefore.tar.gz\t10\tinf",
        "file\tbefore.tar.gz\t" + "9" * 400 + "\t1700000000",
        "file\tbefore.tar.gz\t10",
        "file\tbefore.tar.gz\t10\t1700000000\tmore",
        "file\tb\x1b[2J.tar\t10\t1700000000",
        "folder\t700\troot{{ x }}",
        "aside\tmany",
        "older\tetc",
        "unknown\tx",
        "no tabs at all",
        "",
    ],
)
def test_malformed_backup_list_is_an_error(line: str) -> None:
    answer = f"folder\t700\troot\n{line}\n"
    with pytest.raises(DeeprigError):
        stored.parse(answer)
    with pytest.raises(DeeprigError):
        transfer.ask_rig(shell(answer.encode()))


def test_endless_backup_list_is_an_error() -> None:
    with pytest.raises(DeeprigError, match="lines"):
        stored.parse("aside\t1\n" * (stored.MOST_ROWS + 1))


def test_file_longer_than_announced_is_refused(tmp_path: Path) -> None:
    """700 MB arrived for a file of 10 bytes."""
    there = StoredBackup(FOLDER, {"before.tar.gz": 10})
    endless = FakeConnection(itertools.repeat(b"x" * 65536))
    with pytest.raises(DeeprigError, match="more than 10 bytes"):
        transfer.fetch(
            RootShell(cast(Any, endless), None), there, tmp_path / "rig", lambda text: None
        )
    assert endless.channel.received <= 65536
    assert list(tmp_path.iterdir()) == []


def test_file_shorter_than_announced_is_refused(tmp_path: Path) -> None:
    there = StoredBackup(FOLDER, {"before.tar.gz": 10})
    with pytest.raises(DeeprigError, match="has 4 bytes, and the rig announced 10"):
        transfer.fetch(shell(b"four"), there, tmp_path / "rig", lambda text: None)


@pytest.mark.parametrize("size", [1 << 62, transfer.MOST + 1])
def test_backup_without_enough_disk_space_is_not_started(size: int, tmp_path: Path) -> None:
    with pytest.raises(DeeprigError):
        transfer.fetch(
            shell(), StoredBackup(FOLDER, {"a": size}), tmp_path / "rig", lambda text: None
        )
    assert list(tmp_path.iterdir()) == []


def test_endless_command_output_is_cut_off() -> None:
    endless = FakeConnection(itertools.repeat(b"x" * 65536))
    with pytest.raises(DeeprigError, match="wrote more than 1000000 bytes"):
        RootShell(cast(Any, endless), None).run("true", most=1_000_000)
    assert endless.channel.closed


def test_slow_endless_command_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count()
    monkeypatch.setattr("provision.ssh.shell.time.monotonic", lambda: float(next(clock)))
    drip = FakeConnection(itertools.repeat(b"."))
    with pytest.raises(DeeprigError, match="did not finish in time"):
        RootShell(cast(Any, drip), None).run("true", longest=100)
    assert drip.channel.received <= 101


def test_logs_and_reports_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    with RunLog(tmp_path / "log", "test", ["rig"]) as log:
        assert log.path.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o700
    write_named("--html", str(tmp_path / "page.html"), "x")
    assert (tmp_path / "page.html").stat().st_mode & 0o777 == 0o600

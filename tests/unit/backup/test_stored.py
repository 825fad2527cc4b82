"""The state of a backup, on a rig and on this machine."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from invoke.exceptions import Exit

from provision import paths
from provision.backup import by_shell, command, stored, transfer
from provision.backup.stored import FOLDER, StoredBackup
from provision.backup.transfer import FetchedCopy
from provision.cli.flags import Flags
from provision.engine.results import Recap, Status
from provision.errors import DeeprigError, SourceError
from provision.inventory.hosts import Host
from provision.output.terminal import Terminal
from provision.ssh.shell import ShellResult

ANSWER = (
    "folder\t700\troot\n"
    "file\tbefore.tar.gz\t1000\t1700000000\n"
    "file\tpackages/hive.deb\t500\t1700000010\n"
    "file\tSHA256SUMS\t90\t1700000020\n"
    "aside\t12\n"
)


def test_complete_backup_is_parsed() -> None:
    backup = stored.parse(ANSWER)
    assert backup.state == "whole"
    assert backup.size == 1590
    assert backup.made == 1700000000
    assert backup.aside == 12


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        ("", "none"),
        (ANSWER + "bad\tbefore.tar.gz: FAILED\n", "damaged"),
        (ANSWER.replace("file\tSHA256SUMS\t90\t1700000020\n", ""), "unchecked"),
        (ANSWER.replace("700\troot", "755\troot"), "readable by others"),
        (ANSWER.replace("700\troot", "700\tuser"), "readable by others"),
    ],
)
def test_backup_state_is_parsed(answer: str, state: str) -> None:
    assert stored.parse(answer).state == state


def write_backup(path: Path, archive: str = "archive") -> Path:
    """A whole backup in a folder."""
    (path / "packages").mkdir(mode=0o700, parents=True)
    path.chmod(0o700)
    contents = {name: name for name in (*stored.NEEDED, "packages/hive.deb")}
    contents["before.tar.gz"] = archive
    sums = ""
    for name, text in contents.items():
        (path / name).write_text(text)
        sums += f"{hashlib.sha256(text.encode()).hexdigest()}  {name}\n"
    (path / stored.SUMS).write_text(sums)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_backup(tmp_path / "attic")


def test_copy_is_compared_with_its_checksums(folder: Path) -> None:
    assert stored.read_local(folder).state == "whole"
    (folder / "before.tar.gz").write_bytes(b"another")
    assert stored.read_local(folder).bad == ("before.tar.gz",)
    (folder / "before.tar.gz").unlink()
    assert stored.read_local(folder).state == "damaged"
    assert stored.read_local(folder / "none").state == "none"


@pytest.fixture(params=["here", "there", "restore"])
def bad(request: pytest.FixtureRequest) -> Callable[[Path], set[str]]:
    """Return the faults of a backup, as every reader reports them."""

    def there(path: Path) -> set[str]:
        ask = stored.ASK.replace(FOLDER, str(path))
        message = subprocess.run(["sh", "-c", ask], capture_output=True, text=True, check=True)
        backup = stored.parse(message.stdout)
        assert backup.state == ("damaged" if backup.bad else "whole")
        assert len(backup.bad) == len(set(backup.bad))
        return set(backup.bad)

    def restore(path: Path) -> set[str]:
        functions = by_shell.PROGRAM[0].read_text()
        words = ["sh", "-c", f"{functions}\nfaults"]
        message = subprocess.run(words, cwd=path, capture_output=True, text=True, check=True)
        faults = {line.split(": ")[0] for line in message.stdout.splitlines()}
        return faults

    return {
        "here": lambda path: set(stored.read_local(path).bad),
        "there": there,
        "restore": restore,
    }[request.param]


def test_file_without_a_checksum_is_damaged(folder: Path, bad: Callable[[Path], set[str]]) -> None:
    sums = folder / stored.SUMS
    lines = sums.read_text().splitlines(keepends=True)
    assert bad(folder) == set()
    sums.write_text("".join(line for line in lines if "held.txt" not in line))
    assert bad(folder) == {"held.txt"}
    (folder / "held.txt").unlink()  # what nothing vouches for may have gone unseen
    assert bad(folder) == {"held.txt"}
    (folder / "held.txt").write_text("held.txt")
    (folder / "packages" / "other.deb").write_text("")
    sums.write_text("".join(lines))
    assert bad(folder) == {"packages/other.deb"}
    sums.write_text("")
    assert bad(folder) == {*stored.NEEDED, "packages/hive.deb", "packages/other.deb"}
    sums.write_text("".join(lines))
    (folder / "packages" / "other.deb").unlink()
    (folder / "units.txt").write_text("changed")
    (folder / "before.tar.gz").unlink()
    assert bad(folder) == {"units.txt", "before.tar.gz"}


def test_copy_readable_by_others_is_reported(folder: Path) -> None:
    folder.chmod(0o755)
    assert stored.read_local(folder).state == "readable by others"


@pytest.mark.parametrize("name", ["../../.bashrc", "/etc/passwd", "packages/../../x", "a\nb", ""])
def test_file_names_outside_the_backup_are_refused(name: str, tmp_path: Path) -> None:
    there = StoredBackup(FOLDER, files={name: 1})

    class Shell:
        def run(self, command: str, **rest: object) -> None:
            raise AssertionError(command)

    with pytest.raises(DeeprigError, match="no file of this name"):
        transfer.fetch(Shell(), there, tmp_path / "attic", lambda text: None)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


class Rig:
    """A shell whose backup lies in a folder of this machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(
        self,
        command: str,
        sink: BinaryIO | None = None,
        content: BinaryIO | None = None,
        **_: Any,
    ) -> ShellResult:
        """Run a rig's command on this machine."""
        words = ["sh", "-c", command.replace(FOLDER, str(self.folder))]
        done = subprocess.run(words, stdin=content, capture_output=True, check=False)
        if sink:
            sink.write(done.stdout)
        return ShellResult(done.returncode, done.stdout, done.stderr)


def fetch_backup(rig: Rig, folder: Path) -> FetchedCopy:
    there = transfer.ask_rig(rig)  # type: ignore[arg-type]
    return transfer.fetch(rig, there, folder, lambda text: None)  # type: ignore[arg-type]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_different_copy_is_moved_aside(tmp_path: Path) -> None:
    rig = Rig(write_backup(tmp_path / "rig"))
    here = tmp_path / "backups" / "attic"
    assert fetch_backup(rig, here).older is None
    assert fetch_backup(rig, here).older is None  # it is the same
    assert names(here.parent) == ["attic"]
    (here / "packages" / "hive.deb").unlink()  # not whole any more
    first = fetch_backup(rig, here).older
    second = fetch_backup(Rig(write_backup(tmp_path / "poor", "less")), here).older
    assert first is not None
    assert second is not None
    assert first != second
    assert [backup.where for backup in stored.find_older(here)] == sorted(map(str, (first, second)))
    assert (second / "before.tar.gz").read_text() == "archive"
    assert (here / "before.tar.gz").read_text() == "less"
    message = command.describe_copy("attic", FetchedCopy(stored.read_local(here), second))
    assert f"is in {second} now" in message
    rows = status(
        "attic", stored.read_local(here), stored.read_local(here), stored.find_older(here)
    )
    assert str(first) in rows


def test_sent_backup_does_not_replace_that_of_the_rig(tmp_path: Path) -> None:
    rigs_backup = write_backup(tmp_path / "deeprig", "own")
    (rigs_backup / "removed" / "hive").mkdir(parents=True)
    rig: Any = Rig(rigs_backup)
    sent = write_backup(tmp_path / "sent")
    transfer.send(rig, sent, lambda text: None)
    beside = tmp_path / "deeprig.new"
    assert (rigs_backup / "before.tar.gz").read_text() == "own"
    assert (beside / "removed" / "hive").is_dir()
    transfer.remove(rig)
    assert names(tmp_path) == ["deeprig", "sent"]
    assert (rigs_backup / "removed" / "hive").is_dir()

    transfer.send(rig, sent, lambda text: None)
    old = Path(transfer.take(rig))
    assert names(tmp_path) == ["deeprig", old.name, "sent"]
    assert stored.read_local(old).state == "whole"
    assert (old / "before.tar.gz").read_text() == "own"
    assert transfer.ask_rig(rig).state == "readable by others" or os.geteuid() == 0
    assert transfer.ask_rig(rig).older == (str(old),)
    assert str(old) in status("attic", transfer.ask_rig(rig), stored.read_local(sent))
    assert (rigs_backup / "before.tar.gz").read_text() == "archive"
    assert (rigs_backup / "removed" / "hive").is_dir()
    transfer.send(rig, sent, lambda text: None)
    assert transfer.take(rig) == ""  # it is the same
    assert names(tmp_path) == ["deeprig", old.name, "sent"]


def test_damaged_backup_is_not_sent(folder: Path) -> None:
    (folder / stored.SUMS).write_text("")
    with pytest.raises(SourceError, match=r"is damaged: before\.tar\.gz, "):
        transfer.read_whole(folder)


class FleetOf:
    """What a command asks of its context: the hosts of -H."""

    config = None

    def __init__(self, hosts: list[Host]) -> None:
        self.hosts = hosts

    def fleet(self, flags: Flags) -> tuple[None, list[Host]]:
        return None, self.hosts


def test_available_backups_are_copied_and_failures_set_the_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One rig is unreachable, one refuses, one succeeds."""
    hosts = [Host(name, {}, ()) for name in ("well", "gone", "late")]
    recaps = [
        Recap("well"),
        Recap("gone", Counter({Status.UNREACHABLE: 1})),
        Recap("late", Counter({Status.FAILED: 1})),
    ]

    def played(context: object, flags: Flags, path: Path, what: str) -> list[Recap]:
        assert "backup_wanted=true" in flags.e
        return recaps

    rig = Rig(write_backup(tmp_path / "rig"))
    monkeypatch.setattr(command, "play_on_hosts", played)
    monkeypatch.setattr(command, "BACKUPS", tmp_path / "backups")
    monkeypatch.setattr(command, "_run_on_host", lambda host, config, accept, work: work(rig, host))
    with pytest.raises(Exit) as ended:
        command.backup(FleetOf(hosts), Flags())  # type: ignore[arg-type]
    assert ended.value.code == 4
    assert names(tmp_path / "backups") == ["well"]
    assert "well: " in capsys.readouterr().out


def test_restore_prints_one_document_for_rigs_with_and_without_python(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hosts = [Host(name, {}, ()) for name in ("new", "old", "older")]
    context = FleetOf(hosts)

    def played(
        context: object, flags: Flags, path: Path, what: str, only: set[str], stream: io.StringIO
    ) -> list[Recap]:
        assert only == {"new"}
        stream.write(json.dumps({"hosts": {"new": {"ok": 3}}, "tasks": []}))
        return [Recap("new")]

    def restored(shell: Any, folder: str, check: bool) -> by_shell.ShellRestore:
        if shell == "older":
            raise DeeprigError("no backup there")
        return by_shell.ShellRestore(0, ("nothing else differs",))

    monkeypatch.setattr(command, "play_on_hosts", played)
    monkeypatch.setattr(by_shell, "has_usable_python", lambda shell, host: shell == "new")
    monkeypatch.setattr(by_shell, "restore", restored)
    monkeypatch.setattr(
        command, "_run_on_host", lambda host, config, accept, work: work(host.name, host)
    )
    with pytest.raises(Exit) as ended:
        command.restore(context, Flags(json=True), "")  # type: ignore[arg-type]
    assert ended.value.code == 2
    document = json.loads(capsys.readouterr().out)
    assert document["hosts"] == {
        "new": {"ok": 3},
        "old": {"status": 0, "lines": ["nothing else differs"], "python": False},
        "older": {"error": "no backup there"},
    }


def test_backup_does_not_write_to_the_working_directory(tmp_path: Path) -> None:
    """Copies are in the project's folder."""
    root = Path(__file__).parents[3]
    assert root / "backups" == paths.BACKUPS
    words = ["-m", "fabric", "-r", str(root), "backup", "-H", "user@127.0.0.1:9"]
    with subprocess.Popen(
        [sys.executable, *words], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        _, errors = process.communicate()
    assert process.returncode == 4, errors
    assert names(tmp_path) == []
    (log,) = (root / "log").glob(f"*-backup-*-{process.pid}.jsonl")
    log.unlink()


def status(host: str, *backups: Any) -> str:
    """Return what `fab status` prints of a rig, without line breaks."""
    stream = io.StringIO()
    command.print_status(Terminal(stream), host, *backups)
    return " ".join(stream.getvalue().split())


def test_status_rows_contain_advice() -> None:
    none = StoredBackup("backups/attic")
    assert "fab backup -H attic keeps a copy here" in status("attic", stored.parse(ANSWER), none)
    assert "fab provision makes one" in status("attic", StoredBackup(FOLDER), none)

"""The rig's lock: only root can hold it; a run without an operator is waited for."""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from provision.remote import lock as locks
from provision.remote import worker as workers
from provision.remote.frames import Frame, pack, unpack
from provision.remote.lock import Lock, LockError
from provision.remote.worker import Worker, take_lock


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "deeprig"


def test_lock_folder_is_private(folder: Path) -> None:
    assert Lock("me", str(folder)).take() is None
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "lock").stat().st_mode & 0o777 == 0o600


def test_symlink_as_the_lock_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    """A link in /run/lock disabled the lock, or let any user hold it."""
    (tmp_path / "elsewhere").mkdir()
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LockError):
        Lock("me", str(folder))
    folder.unlink()
    folder.mkdir(0o777)
    (folder / "lock").symlink_to(tmp_path / "file")
    with pytest.raises(LockError):
        Lock("me", str(folder))
    assert not (tmp_path / "file").exists()
    assert folder.stat().st_mode & 0o777 == 0o700


def test_lock_folder_of_another_user_is_refused(folder: Path) -> None:
    """As root, the test gives the folder away; otherwise it uses one of root's."""
    if os.geteuid() == 0:
        folder.mkdir()
        os.chown(folder, 12345, -1)
    with pytest.raises(LockError):
        Lock("me", str(folder) if os.geteuid() == 0 else "/")


def test_holder_of_the_lock_is_reported(folder: Path) -> None:
    first, second = Lock("ann@desk", str(folder)), Lock("bob@lap", str(folder))
    assert first.take() is None
    holder = second.take()
    assert holder is not None
    assert (holder.by, holder.pid, holder.is_leaving) == ("ann@desk", os.getpid(), False)
    first.note_end()
    holder = second.take()
    assert holder is not None
    assert holder.is_leaving


def test_silent_operator_is_reported_as_possibly_gone(folder: Path) -> None:
    first, second = Lock("ann@desk", str(folder)), Lock("bob@lap", str(folder))
    assert first.take() is None
    old = time.time() - locks.QUIET - 5
    os.utime(folder / "lock", (old, old))
    holder = second.take()
    assert holder is not None
    assert holder.is_leaving
    first.touch()
    holder = second.take()
    assert holder is not None
    assert not holder.is_leaving


@pytest.mark.parametrize("content", ["", "null", "[]", "{}", '{"by": 1', "x" * 5000])
def test_incomplete_lock_file_is_not_an_error(content: str, folder: Path) -> None:
    first, second = Lock("ann@desk", str(folder)), Lock("bob@lap", str(folder))
    assert first.take() is None
    (folder / "lock").write_text(content)
    assert second.take() is not None


def frames(written: bytes) -> list[Frame]:
    stream = io.BytesIO(written)
    return list(iter(lambda: unpack(stream.read), None))


def test_run_without_an_operator_is_waited_for_and_reported(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "POLL", 0.01)
    first, second = Lock("ann@desk", str(folder)), Lock("bob@lap", str(folder))
    assert first.take() is None
    first.note_end()
    writer = io.BytesIO()
    waiting: list[str] = []
    thread = threading.Thread(
        target=lambda: waiting.append(take_lock(second, Worker(io.BytesIO(), writer)))
    )
    thread.start()
    until(lambda: len(frames(writer.getvalue())) > 2)
    assert "ann@desk" in frames(writer.getvalue())[0]["waiting"]["holder"]
    os.close(first._handle)  # its process ends
    thread.join(20)
    assert waiting == [""]


def test_a_run_with_an_operator_is_not_waited_for(folder: Path) -> None:
    first, second = Lock("ann@desk", str(folder)), Lock("bob@lap", str(folder))
    assert first.take() is None
    assert "ann@desk" in take_lock(second, Worker(io.BytesIO(), io.BytesIO()))


class Pipe:
    """A stream of frames that stays open."""

    def __init__(self) -> None:
        reader, self._writer = os.pipe()
        self.reader = os.fdopen(reader, "rb")

    def send(self, frame: Any) -> None:
        os.write(self._writer, pack(frame))

    def close(self) -> None:
        os.close(self._writer)


def serve(worker: Worker) -> threading.Thread:
    thread = threading.Thread(target=worker.serve, daemon=True)
    thread.start()
    return thread


def test_worker_ends_without_signs_of_life(folder: Path) -> None:
    """A laptop lost its power: the connection stays open for hours."""
    pipe, lock = Pipe(), Lock("ann@desk", str(folder))
    assert lock.take() is None
    thread = serve(Worker(pipe.reader, io.BytesIO(), 0.01, lock, patience=0.2))
    thread.join(20)
    assert not thread.is_alive()
    holder = Lock("bob@lap", str(folder)).take()
    assert holder is not None
    assert holder.ending
    pipe.close()


@pytest.mark.slow
def test_worker_stays_with_signs_of_life(folder: Path) -> None:
    pipe = Pipe()
    worker = Worker(pipe.reader, io.BytesIO(), 0.01, None, patience=2.0)
    thread = serve(worker)
    began = time.monotonic()
    while time.monotonic() - began < 5:  # without signs of life it would have ended long ago
        pipe.send({"op": "alive"})
        threading.Event().wait(0.05)
        assert thread.is_alive()
    pipe.send({"op": "bye"})
    thread.join(20)
    assert not thread.is_alive()
    pipe.close()

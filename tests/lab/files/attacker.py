"""A user without rights, as a process of this machine, and files of root to protect from it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import shutil
import signal
import stat
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

UID = 54321  # no user of this machine
SECRET = "root's secret: 5f1d0c7a"
RENAME_EXCHANGE = 2
AT_FDCWD = -100
LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Field:
    """Folders of root (`protected`: must not change) and of the user (`home`)."""

    protected: Path
    home: Path

    @property
    def secret(self) -> Path:
        """A file that only root may read."""
        return self.protected / "shadow"

    def state(self) -> dict[str, tuple[int, int, int, str]]:
        """Return owner, group, mode and content of all files of root."""
        files = {}
        for path in [self.protected, *sorted(self.protected.rglob("*"))]:
            info = path.lstat()
            content = path.read_text() if stat.S_ISREG(info.st_mode) else ""
            name = str(path.relative_to(self.protected))
            files[name] = (info.st_uid, info.st_gid, info.st_mode, content)
        return files

    def leaks(self) -> list[str]:
        """Return the copies of root's secret that the user has."""
        return [
            str(path)
            for path in self.home.rglob("*")
            if not path.is_symlink()
            and path.is_file()
            and path.stat().st_ino != self.secret.stat().st_ino
            and SECRET in path.read_text(errors="replace")
        ]


@contextlib.contextmanager
def field() -> Iterator[Field]:
    """Create root's folder and the user's, side by side; remove both at the end."""
    top = Path(tempfile.mkdtemp(prefix="deeprig-attack-"))
    try:
        top.chmod(0o755)
        protected, home = top / "kept", top / "home"
        (protected / "sub").mkdir(parents=True)
        for name, mode in {"shadow": 0o600, "conf": 0o644, "sub/conf": 0o644}.items():
            file = protected / name
            file.write_text(f"{SECRET if mode == 0o600 else 'as it was'}\n")
            file.chmod(mode)
        home.mkdir()
        os.chown(home, UID, UID)
        yield Field(protected, home)
    finally:
        shutil.rmtree(top)


def as_user(work: Callable[[], object]) -> None:
    """Run a function as the user in a separate process; fail if it fails."""
    pid = start(work)
    _, status = os.waitpid(pid, 0)
    assert status == 0, f"the user's part failed with status {status}"


def start(work: Callable[[], object]) -> int:
    """Start a function as the user; return the process."""
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setgroups([])
        os.setgid(UID)
        os.setuid(UID)
        os.umask(0o022)
        work()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)


@contextlib.contextmanager
def running(work: Callable[[], object]) -> Iterator[None]:
    """Run a function as the user repeatedly until the block ends."""
    pid = start(work)
    try:
        yield
        assert os.waitpid(pid, os.WNOHANG) == (0, 0), "the attack ended by itself"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)


def exchange(first: str, second: str) -> bool:
    """Swap two names in one step; return False if the kernel or a name does not allow it."""
    answer = LIBC.renameat2(AT_FDCWD, first.encode(), AT_FDCWD, second.encode(), RENAME_EXCHANGE)
    return bool(answer == 0)


def swap_for_ever(folder: str, target: str, protected: str) -> None:
    """Put symlinks, folders, files and hard links in a path's place, in turn, without an end.

    Scratch files of root's are replaced by symlinks as well, as soon as they are seen.
    """
    os.chdir(folder)
    pool = os.listdir("pool")
    chance = random.Random(1)
    while True:
        for _ in range(20):
            choice = f"pool/{chance.choice(pool)}"
            if not exchange(choice, target):
                with contextlib.suppress(OSError):
                    os.rename(choice, target)
            if chance.random() < 0.5:
                exchange("inner", "pool/outside")
        refill(protected)
        time.sleep(chance.choice((0, 0, 0.01)))  # so that some of root's work gets done
        for name in os.listdir("."):
            if name.startswith(".deeprig") or name.endswith(("~", ".deeprig")):
                with contextlib.suppress(OSError):
                    os.rename(name, f"pool/{name}")
                    os.symlink(f"{protected}/shadow", name)


def refill(protected: str, home: str = ".") -> None:
    """Create the user's files again that root has removed."""
    os.chdir(home)
    with contextlib.suppress(OSError):
        os.mkdir("pool")
    for name, goal in {
        "to-secret": f"{protected}/shadow",
        "to-file": f"{protected}/conf",
        "to-folder": f"{protected}/sub",
        "to-new": f"{protected}/new",
        "outside": protected,
    }.items():
        with contextlib.suppress(OSError):
            os.symlink(goal, f"pool/{name}")
    for name in ("folder", "folder/sub"):
        with contextlib.suppress(OSError):
            os.mkdir(f"pool/{name}")
    with contextlib.suppress(OSError):
        os.symlink(f"{protected}/shadow", "pool/folder/link")
    with contextlib.suppress(OSError):
        os.mkfifo("pool/fifo")
    with contextlib.suppress(OSError), open("pool/file", "x") as stream:
        stream.write("the user's own\n")
    with contextlib.suppress(OSError):
        os.mkdir("inner")

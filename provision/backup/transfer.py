"""Carry a backup between a rig and this machine; each end holds it against its checksums."""

from __future__ import annotations

import re
import shlex
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from provision.backup import stored
from provision.backup.stored import FOLDER, SUMS, StoredBackup
from provision.errors import DeeprigError, SourceError
from provision.output.files import make_private
from provision.ssh.shell import LONGEST, RootShell, ShellResult

MOST = 64 << 30  # bytes of a whole backup; HiveOS's takes 0.5 GB
SLOWEST = 50_000  # bytes a second of the slowest network that is waited for
BESIDE = f"{FOLDER}.new"  # on the rig: what is being sent
#: The checksums come last: what is cut off has none. What was put aside stays.
TAKE = f"""
set -e
umask 077
mkdir -p {FOLDER}
cd {FOLDER}
rm -f {BESIDE}/removed
if diff -r --exclude=removed . {BESIDE} >/dev/null; then
  rm -rf {BESIDE}
  exit 0
fi
own=$(ls -A | grep -vx removed || :)
if [ "$own" ]; then
  old={FOLDER}.$(date +{stored.STAMP})
  mkdir "$old"
  echo "$old"
  printf '%s\\n' "$own" | while IFS= read -r name; do mv -- "$name" "$old/"; done
fi
for path in {BESIDE}/*; do
  [ "$path" = {BESIDE}/{SUMS} ] || mv "$path" .
done
mv {BESIDE}/{SUMS} .
rmdir {BESIDE}
"""
Progress = Callable[[str], None]


@dataclass(frozen=True)
class FetchedCopy:
    """A local copy. older: where a different, older copy was moved; None where there was none."""

    copy: StoredBackup
    older: Path | None


def ask_rig(shell: RootShell) -> StoredBackup:
    """Return the backup that a rig has. Raises UnreachableError, LostError, DeeprigError."""
    done = shell.run(stored.ASK)
    if done.status != 0:
        raise DeeprigError(
            f"the backup can't be looked at: {done.last_words or 'no answer'}",
            advice="It is root's alone: sudo must work (ansible_become_password).",
        )
    return stored.parse(done.out.decode("utf-8", "replace"))


def fetch(shell: RootShell, there: StoredBackup, folder: Path, progress: Progress) -> FetchedCopy:
    """Copy a rig's backup here. A copy that differs is put aside. Raises DeeprigError."""
    draft = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(draft, ignore_errors=True)
    make_private(folder.parent)
    _check_room(there, folder.parent)
    draft.mkdir(mode=0o700)
    try:
        for name in _file_names(there):
            path = draft / name
            path.parent.mkdir(mode=0o700, exist_ok=True)
            size = there.files[name]
            progress(f"{name}, {size / 1e6:.1f} MB")
            with path.open("wb") as stream:
                path.chmod(0o600)
                read = f"cat {FOLDER}/{shlex.quote(name)}"
                longest = LONGEST + size / SLOWEST
                _require_success(shell.run(read, sink=stream, most=size, longest=longest), name)
            if path.stat().st_size != size:
                raise DeeprigError(
                    f"{name} has {path.stat().st_size} bytes, and the rig announced {size}"
                )
        copy = stored.read_local(draft)
        if copy.state != "whole":
            raise DeeprigError(f"the copy is {copy.state}: {', '.join(copy.bad)}")
        older = _put_aside(folder, draft)
        draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return FetchedCopy(replace(copy, where=str(folder)), older)


def _check_room(there: StoredBackup, folder: Path) -> None:
    """Raise DeeprigError where a backup is larger than any, or than the room that is here."""
    if there.size > MOST:
        raise DeeprigError(f"the rig announces a backup of {there.size / 1e9:.1f} GB")
    free = shutil.disk_usage(folder).free
    if there.size > free:
        raise DeeprigError(
            f"the backup takes {there.size / 1e9:.1f} GB, and {folder} has {free / 1e9:.1f} GB free"
        )


def _put_aside(folder: Path, draft: Path) -> Path | None:
    """Make room for a new copy; where the old one goes, unless it is the same or there is none."""
    old = stored.read_local(folder)
    if old.made is None or (old.usable and _make_sums(folder) == _make_sums(draft)):
        shutil.rmtree(folder, ignore_errors=True)
        return None
    stamp = time.strftime(stored.STAMP, time.localtime(old.made))
    aside = folder.with_name(f"{folder.name}.{stamp}")
    while aside.exists():
        aside = aside.with_name(f"{aside.name}+")
    return folder.rename(aside)


def _make_sums(folder: Path) -> bytes:
    return (folder / SUMS).read_bytes()


def read_whole(folder: Path) -> StoredBackup:
    """Return a backup of this machine that a rig may be restored from. Raises SourceError."""
    copy = stored.read_local(folder)
    if not copy.usable:
        what = f": {', '.join(copy.bad)}" if copy.bad else ""
        raise SourceError(
            f"the backup in {folder} is {copy.state}{what}",
            advice="fab status shows what there is.",
        )
    return copy


def send(shell: RootShell, folder: Path, progress: Progress) -> None:
    """Copy a backup of this machine to a rig, beside its own, in BESIDE. Raises DeeprigError."""
    copy = read_whole(folder)
    names = _file_names(copy)
    remove(shell)
    for name in names:
        progress(f"{name}, {copy.files[name] / 1e6:.1f} MB")
        target = shlex.quote(f"{BESIDE}/{name}")
        with (folder / name).open("rb") as stream:
            write = f"umask 077; mkdir -p $(dirname {target}) && cat > {target}"
            _require_success(shell.run(write, content=stream), name)
    # What was put aside is on the rig only, and counts for --check.
    _require_success(
        shell.run(f"[ ! -d {FOLDER}/removed ] || ln -s {FOLDER}/removed {BESIDE}/"), BESIDE
    )


def take(shell: RootShell) -> str:
    """Make what was sent the rig's own; where its own one is from now on, empty if nowhere."""
    done = shell.run(TAKE)
    _require_success(done, FOLDER)
    return done.out.decode("utf-8", "replace").strip()


def remove(shell: RootShell) -> None:
    """Take away what was sent. Raises DeeprigError."""
    _require_success(shell.run(f"rm -rf {BESIDE}"), BESIDE)


def _file_names(stored_backup: StoredBackup) -> list[str]:
    """Return its files, the checksums last: what is cut off has none."""
    bad = [name for name in stored_backup.files if not re.match(stored.NAME, name)]
    if bad:
        raise DeeprigError(f"a backup has no file of this name: {bad[0]!r}")
    return sorted(stored_backup.files, key=lambda name: (name == SUMS, name))


def _require_success(done: ShellResult, what: str) -> None:
    if done.status != 0:
        raise DeeprigError(f"{what} can't be copied: {done.last_words or 'no answer'}")

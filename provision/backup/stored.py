"""A backup in a folder, and its state."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypedDict

from provision.boundary.decode import BoundaryError
from provision.boundary.patterns import PATH, USER
from provision.boundary.text import clean_line
from provision.output.files import hash_file

FOLDER = "/var/backups/deeprig"  # on the rig: playbooks/backup.yml
SUMS = "SHA256SUMS"
STAMP = "%Y-%m-%d-%H%M%S"  # suffix of a backup that a newer one replaced
#: What every backup has. The checksums must have these, and whatever else is there.
NEEDED = ("before.tar.gz", "packages.txt", "held.txt", "units.txt", "cmdline.txt")
State = Literal["none", "whole", "unchecked", "damaged", "readable by others"]
#: The rig's list of its backup, read by `parse`. Read-only. What is bad: as in restore.yml.
ASK = f"""
for older in {FOLDER}.[0-9]*; do
  [ -d "$older" ] && printf 'older\\t%s\\n' "$older"
done
cd {FOLDER} 2>/dev/null || exit 0
stat --printf 'folder\\t%a\\t%U\\n' .
for file in before.tar.gz *.txt packages/*.deb {SUMS}; do
  [ -e "$file" ] && stat --printf 'file\\t%n\\t%s\\t%Y\\n' "$file"
done
if [ -e {SUMS} ]; then
  sha256sum --check {SUMS} 2>/dev/null | grep -v ': OK$' | sed 's/^/bad\\t/'
  set -- {" ".join(NEEDED)} *.txt packages/*.deb
  for file in $(printf '%s\\n' "$@" | grep -v '[*]' | sort -u); do
    awk -v name="$file" 'substr($0, 67) == name {{ found = 1 }} END {{ exit !found }}' {SUMS} ||
      printf 'bad\\t%s\\n' "$file"
  done
fi
[ -d removed ] && printf 'aside\\t%s\\n' "$(find removed ! -type d | wc -l)"
:
"""

NAME = r"\A(?:packages/)?[A-Za-z0-9][A-Za-z0-9_.+-]{0,254}\Z"  # of a file: no path leads elsewhere
SIZE = r"\A[0-9]{1,13}\Z"  # bytes, or Unix seconds
#: The form of each kind of line of the answer, field by field.
ROWS = {
    "older": (PATH,),
    "folder": (r"\A[0-7]{3,4}\Z", USER),
    "file": (NAME, SIZE, SIZE),
    "bad": (r"\A.{1,4096}\Z",),
    "aside": (SIZE,),
}
MOST_ROWS = 10_000


class BackupDocument(TypedDict):
    """A backup, as JSON has it. size: bytes of all files; the other fields are StoredBackup's."""

    where: str
    files: dict[str, int]
    made: float | None
    bad: tuple[str, ...]
    aside: int
    private: bool
    older: tuple[str, ...]
    state: State
    size: int


@dataclass(frozen=True)
class StoredBackup:
    """One backup. made: Unix seconds; files: bytes by name; bad: files that are not as they were.

    aside: how many files were put aside beside it. private: root's alone. older: the folders of
    those whose place it took on the rig.
    """

    where: str
    files: Mapping[str, int] = field(default_factory=dict)
    made: float | None = None
    bad: tuple[str, ...] = ()
    aside: int = 0
    private: bool = True
    older: tuple[str, ...] = ()

    @property
    def state(self) -> State:
        """What it is good for."""
        if not self.files:
            return "none"
        if self.bad:
            return "damaged"
        if SUMS not in self.files:
            return "unchecked"
        return "whole" if self.private else "readable by others"

    @property
    def usable(self) -> bool:
        """Whether a rig may be restored from it."""
        return self.state in ("whole", "readable by others")

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(self.files.values())

    def document(self) -> BackupDocument:
        """As JSON has it."""
        return {
            "where": self.where,
            "files": dict(self.files),
            "made": self.made,
            "bad": self.bad,
            "aside": self.aside,
            "private": self.private,
            "older": self.older,
            "state": self.state,
            "size": self.size,
        }


def parse(text: str) -> StoredBackup:
    """Return the backup that a rig's answer to ASK describes. Raises BoundaryError."""
    rows = [line.split("\t") for line in text.splitlines()]
    if len(rows) > MOST_ROWS:
        raise BoundaryError(f"the rig's list of its backup has {len(rows)} lines")
    for row in rows:
        if row[0] not in ROWS or not all(map(re.match, ROWS[row[0]], row[1:])):
            raise BoundaryError(f"the rig's list of its backup has a line of another form: {row}")
        if len(row) != len(ROWS[row[0]]) + 1:
            raise BoundaryError(f"the rig's list of its backup has a line cut off: {row}")
    folder = next((row for row in rows if row[0] == "folder"), None)
    files = [row for row in rows if row[0] == "file"]
    return StoredBackup(
        where=FOLDER,
        files={row[1]: int(row[2]) for row in files},
        made=min((float(row[3]) for row in files), default=None),
        bad=tuple(clean_line(row[1].split(": ")[0]) for row in rows if row[0] == "bad"),
        aside=sum(int(row[1]) for row in rows if row[0] == "aside"),
        private=folder is None or (folder[1] == "700" and folder[2] == "root"),
        older=tuple(row[1] for row in rows if row[0] == "older"),
    )


def read_local(folder: Path) -> StoredBackup:
    """Return a backup in a folder of this machine, each file held against its checksum.

    Where there are checksums, a file that they do not have is bad, too.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    names = {str(path.relative_to(folder)): path for path in paths}
    wanted = dict(_parse_sums(folder / SUMS))
    unlisted = {*names, *NEEDED} - {*wanted, SUMS} if SUMS in names else set()
    return StoredBackup(
        where=str(folder),
        files={name: path.stat().st_size for name, path in names.items()},
        made=min((path.stat().st_mtime for path in paths), default=None),
        bad=tuple(
            name
            for name, digest in wanted.items()
            if name not in names or hash_file(names[name]) != digest
        )
        + tuple(sorted(unlisted)),
        private=not folder.exists() or folder.stat().st_mode & 0o077 == 0,
    )


def find_older(folder: Path) -> list[StoredBackup]:
    """Return the backups that once were in this folder, and that others took the place of."""
    dated = re.compile(rf"{re.escape(folder.name)}[.]\d{{4}}-\d\d-\d\d-\d{{6}}[+]*")
    return [
        read_local(path) for path in sorted(folder.parent.glob("*")) if dated.fullmatch(path.name)
    ]


def _parse_sums(file: Path) -> Iterable[tuple[str, str]]:
    """Name and digest, of a file as sha256sum writes it."""
    if not file.is_file():
        return
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        digest, _, name = line.partition("  ")
        yield name, digest

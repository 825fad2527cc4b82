"""A rig's files as a first look brought them: a folder that the rig's own fact code reads.

The rig is not trusted: links are kept inside the folder, and only plain files and folders are made.
"""

from __future__ import annotations

import io
import os
import posixpath
import re
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from provision.boundary.decode import BoundaryError, inflate_start
from provision.boundary.text import clean
from provision.remote.facts.package_lists import FOLDER as PACKAGE_LISTS
from provision.remote.facts.tree import FileStats, Tree

HEADER = re.compile(rb"(?:\A|\n)==> (/[^\n]+) <==\n")
MOST_UNPACKED = 64 << 20  # bytes of an unpacked archive; the settings of a large rig take 8 MB
MOST_NAMES = 100_000  # files and links in all; a large rig has 5,000
MOST_OF_A_TEXT = 200  # characters of what was found in a file
#: Questions whose answers are files as `head -v` writes them, and the folders of these.
FILE_ANSWERS = {"kernel": ("/proc/", "/sys/"), "driver_lists": (f"{PACKAGE_LISTS}/",)}
KINDS = {"f", "d", "l", "s", "p", "c", "b"}  # find's %y


class Snapshot(Tree):
    """A tree whose file system has the size that the rig reported. answers: bytes by question."""

    def __init__(self, root: Path, answers: Mapping[str, bytes]) -> None:
        super().__init__(str(root))
        self.answers = answers
        self._root = root.resolve()
        self._targets: dict[str, str] = {}
        #: Files that were only created since a link leads there.
        self._placeholders: set[Path] = set()
        self._left = MOST_NAMES
        self._texts: dict[str, frozenset[str]] = {}
        #: What the facts wanted to know of files that are not here: paths, by the kind of question.
        self.wanted: dict[str, set[str]] = {"settings": set(), "programs": set()}
        for path, kind, target_kind, target in _parse_names(answers.get("names", b"")):
            if self._counts():
                self._name(path, kind, target_kind, target)
        self._stats = dict(_parse_stats(answers.get("stats", b"")))
        for path in self._stats:
            if self._counts():
                self._name(path, "f", "f", "")
        for question, folders in FILE_ANSWERS.items():
            for path, content in _listed_files(answers.get(question, b""), folders):
                if self._counts():
                    self._write(path, content)
        self.unpack(answers.get("settings", b""))
        self.unpack(answers.get("homes", b""))

    def _counts(self) -> bool:
        """Return whether there is room for one name more."""
        self._left -= 1
        return self._left >= 0

    def target(self, path: str) -> str:
        """Return where a link of the rig points there."""
        return self._targets.get(path, "")

    def stats(self, path: str) -> FileStats | None:
        """Return a file's inode, size and time on the rig, for the files that were asked about."""
        return self._stats.get(path)

    def now(self) -> float:
        """Return the rig's clock as it was asked; this machine's where it did not answer."""
        text = self.text_of("clock").strip()
        return float(text) if text.isdigit() and len(text) < 15 else super().now()

    def text_of(self, question: str) -> str:
        """Return a command's output; empty where it failed."""
        return clean(self.answers.get(question, b"").decode("utf-8", "replace"), keep="\0")

    def text(self, path: str, default: str = "") -> str:
        """Return a file's content, harmless for a terminal."""
        return clean(super().text(path, default), keep="\0")

    def find_texts(self, files: str, pattern: str) -> frozenset[str]:
        """Return what the rig found in these files; they stay there, for they hold secrets."""
        self.wanted["settings"].add(files)
        return self._texts.get(files, frozenset())

    def holds_text(self, path: str, texts: Iterable[str]) -> bool:
        """Return whether the rig found one of the texts in a program."""
        self.wanted["programs"].add(path)
        return bool(self._texts.get(path))

    def add_texts(self, wanted: Sequence[str], answer: bytes) -> None:
        """Add what the rig found: under a line `=N` the texts of the file of that number."""
        texts: dict[int, set[str]] = {}
        number = -1
        for line in clean(answer.decode("utf-8", "replace")).splitlines():
            if line[:1] == "=" and line[1:].isdigit():
                number = int(line[1:])
            elif 0 <= number < len(wanted):
                texts.setdefault(number, set()).add(line[:MOST_OF_A_TEXT])
        for index, matches in texts.items():
            self._texts[wanted[index]] = frozenset(matches)

    def usage(self, path: str) -> dict[str, int]:
        """Return the size of a file system by `df`, which lists blocks, then inodes."""
        rows = [line.split() for line in self.text_of("sizes").splitlines()]
        rows = [row for row in rows if len(row) >= 6 and row[5] == path and row[1].isdigit()]
        if not rows:
            return {}
        _, total, _, available = rows[0][:4]
        sizes = {"size_total": int(total) << 10, "size_available": int(available) << 10}
        inodes = rows[1][1:4] if len(rows) > 1 else []
        counts = [int(cell) if cell.isdigit() else 0 for cell in (*inodes, "", "", "")[:3]]
        names = ("inode_total", "inode_used", "inode_available")
        return {**sizes, **dict(zip(names, counts, strict=True))}

    def _place(self, path: str) -> Path | None:
        """Return where a path of the rig goes; None where that would leave the folder."""
        clean = posixpath.normpath(f"/{path}")
        place = self._root / clean.lstrip("/")
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
        except OSError:  # below what is a file here
            return None
        inside = place.parent.resolve().is_relative_to(self._root)
        return place if inside else None

    def _write(self, path: str, content: bytes) -> None:
        place = self._place(path)
        if place is None or place.is_dir():
            return
        if place.is_symlink() and not place.resolve().is_relative_to(self._root):
            return
        place.write_bytes(content)

    def _name(self, path: str, kind: str, target_kind: str, target: str) -> None:
        place = self._place(path)
        if place is None:
            return
        if kind == "l" and place in self._placeholders:
            place.unlink()
            self._placeholders.remove(place)
        if os.path.lexists(place):
            return
        if kind == "d":
            place.mkdir()
        elif kind == "l":
            self._targets[path] = target
            self._link(place, target_kind, target)
        else:
            place.touch()

    def _link(self, place: Path, target_kind: str, target: str) -> None:
        """Create a link to the same place inside the folder, and its target."""
        # Relative to the link's real folder: sysfs has links behind links.
        folder = place.parent.resolve()
        goal = Path(os.path.normpath(self._root / target.lstrip("/")))
        if not target.startswith("/"):
            goal = Path(os.path.normpath(folder / target))
        if not goal.is_relative_to(self._root):
            return
        place.symlink_to(os.path.relpath(goal, folder))
        if target_kind not in KINDS or os.path.lexists(goal):  # dangling there, too
            return
        made = self._place(str(goal.relative_to(self._root)))
        if made is not None and target_kind == "d":
            made.mkdir(exist_ok=True)
        elif made is not None:
            made.touch()
            self._placeholders.add(made)

    def unpack(self, content: bytes) -> None:
        """Add the files of an archive, or of its start where it is cut off or too large.

        A sparse file may claim any size, and none of those that are asked for is one.
        """
        try:
            unpacked, _ = inflate_start(content, MOST_UNPACKED)
            room = MOST_UNPACKED  # links could repeat a large file for ever
            with tarfile.open(fileobj=io.BytesIO(unpacked), mode="r:") as archive:
                files: dict[str, tarfile.TarInfo] = {}
                for member in archive:
                    if not self._counts():
                        return
                    # A file with two names here, as behind a link, comes once, and then as a link.
                    file = files.get(member.linkname) if member.islnk() else member
                    if file is None or not file.isreg() or file.issparse():
                        continue
                    room -= file.size
                    if room < 0:
                        continue
                    files[member.name] = file
                    stream = archive.extractfile(file)
                    if stream is None:
                        continue
                    self._write(member.name, stream.read())
                    place = self._place(member.name)
                    if place is not None and place.is_file():
                        place.chmod((file.mode & 0o777) | 0o600)
        except (tarfile.TarError, BoundaryError, EOFError, OSError, ValueError):
            return


def _parse_names(answer: bytes) -> Iterator[tuple[str, str, str, str]]:
    """Yield each name of the answer; folders before what is in them."""
    rows = (line.split("\t") for line in answer.decode("utf-8", "replace").splitlines())
    for row in sorted(row for row in rows if len(row) == 4):
        yield row[0], row[1], row[2], row[3]


def _parse_stats(answer: bytes) -> Iterator[tuple[str, FileStats]]:
    """Yield each file with its stats; a row that a path with a tab or a line break made is not."""
    for line in answer.decode("utf-8", "replace").splitlines():
        match = re.fullmatch(r"(\d{1,20})\t(\d{1,18})\t(\d{1,12}(?:\.\d+)?)\t(/[^\t]+)", line)
        if match:
            inode, size, changed_at, path = match.groups()
            yield path, FileStats(int(inode), int(size), float(changed_at))


def _listed_files(answer: bytes, folders: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    """Files as `head -v` writes them, each once: what follows is another file's own words."""
    parts = HEADER.split(answer)
    seen = set()
    for path, content in zip(parts[1::2], parts[2::2], strict=True):
        name = path.decode("utf-8", "replace")
        if path not in seen and name.startswith(folders):
            seen.add(path)
            yield name, content

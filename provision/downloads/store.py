"""A folder of files by their SHA-256: each is fetched once, whatever the number of readers.

FOLDER/SHA256 is a complete file; SHA256.part is on its way, and is continued where it ended;
SHA256.lock keeps a second process from fetching it, too. Readers get the bytes as they come, so a
rig has a file as soon as this machine. The hash at the end decides, here and on the rig.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from provision.downloads.fetch import Fetch
from provision.downloads.sources import FetchError, Sources
from provision.output.files import hash_file, make_private

CHUNK = 1 << 18  # bytes
MOST_KEPT = 40_000_000_000  # bytes of complete files; the longest unused go first
KEPT_SECONDS = 60 * 86400  # of a file that is not used


@dataclass
class Download:
    """A file on its way. ready: bytes that readers may have; size: of all, 0 while unknown."""

    draft: Path
    size: int = 0
    ready: int = 0
    is_done: bool = False
    error: str = ""
    news: threading.Condition = field(default_factory=threading.Condition)

    def report(self, *, size: int | None = None, ready: int | None = None) -> None:
        """Note how far it is, and wake the readers."""
        with self.news:
            self.size = self.size if size is None else size
            self.ready = self.ready if ready is None else ready
            self.news.notify_all()

    def end(self, error: str = "") -> None:
        """Note its end, and wake the readers."""
        with self.news:
            self.is_done, self.error = True, error
            self.news.notify_all()

    def wait_for_size(self) -> int:
        """Return the size as soon as it is known. Raises FetchError."""
        with self.news:
            self.news.wait_for(lambda: self.size or self.is_done)
            if self.error:
                raise FetchError(self.error)
            return self.size

    def read(self, first: int) -> Iterator[bytes]:
        """Yield the bytes from an offset on as they come. Raises FetchError."""
        self.wait_for_size()  # then there is a file
        with self.news:
            try:
                stream = self.draft.open("rb")
            except FileNotFoundError:  # its hash was wrong: the reason is about to come
                self.news.wait_for(lambda: self.is_done)
                raise FetchError(self.error or f"{self.draft} is gone") from None
        with stream:
            yield from self._read(stream, first)

    def _read(self, stream: BinaryIO, first: int) -> Iterator[bytes]:
        stream.seek(first)
        while (ready := self._wait_beyond(first)) > first:
            while first < ready and (chunk := stream.read(min(CHUNK, ready - first))):
                first += len(chunk)
                yield chunk

    def _wait_beyond(self, first: int) -> int:
        """Return how many bytes are ready, once there are more than `first` or it has ended.

        Raises FetchError.
        """
        with self.news:
            self.news.wait_for(lambda: self.ready > first or self.is_done)
            if self.error:
                raise FetchError(self.error)
            return self.ready


class Store:
    """The folder, and the downloads of this process. fetched: bytes that came from elsewhere."""

    def __init__(self, folder: Path, longest_kept: float = KEPT_SECONDS) -> None:
        self.folder = make_private(folder)
        self.fetched = 0
        self._longest_kept = longest_kept
        self._lock = threading.Lock()
        self._downloads: dict[str, Download] = {}

    def open(self, sha256: str, url: str, size: int, sources: Sources) -> Download:
        """Return a download that is complete, or on its way. sha256: 64 hexadecimal digits.

        size: bytes, 0 where unknown.
        """
        with self._lock:
            current = self._downloads.get(sha256)
            if current is not None:
                return current
            made = Download(self.folder / f"{sha256}.part")
            self._downloads[sha256] = made
        threading.Thread(
            target=self._provide, args=(made, sha256, url, size, sources), daemon=True
        ).start()
        return made

    def prune(self) -> None:
        """Delete what was not used for long, and the longest unused beyond MOST_KEPT."""
        now, total = time.time(), 0
        files = [path for path in self.folder.iterdir() if path.is_file()]
        for path in sorted(files, key=lambda path: path.stat().st_mtime, reverse=True):
            state = path.stat()
            total += state.st_size
            if total > MOST_KEPT or now - state.st_mtime > self._longest_kept:
                path.unlink(missing_ok=True)

    def _provide(
        self, download: Download, sha256: str, url: str, size: int, sources: Sources
    ) -> None:
        complete = self.folder / sha256
        error = ""
        try:
            with self._only_process(sha256):
                if complete.exists() and hash_file(complete) == sha256:
                    os.utime(complete)
                    download.draft = complete
                else:
                    self._fetch(download, sha256, url, size, sources)
                    with download.news:  # a reader that has it open goes on with the same file
                        download.draft.replace(complete)
                        download.draft = complete
        except (FetchError, OSError) as problem:
            error = str(problem)
            with self._lock:  # the next request tries again
                self._downloads.pop(sha256, None)
        else:
            total = complete.stat().st_size
            download.report(size=total, ready=total)
        download.end(error)

    @contextlib.contextmanager
    def _only_process(self, sha256: str) -> Iterator[None]:
        file = self.folder / f"{sha256}.lock"
        with file.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _fetch(
        self, download: Download, sha256: str, url: str, size: int, sources: Sources
    ) -> None:
        """Fetch a file into its draft. Raises FetchError, OSError."""
        digest = hashlib.sha256()
        draft = download.draft
        have = draft.stat().st_size if draft.exists() else 0
        with draft.open("r+b" if have else "wb") as stream:
            while have and (chunk := stream.read(CHUNK)):
                digest.update(chunk)
            fetch = Fetch(url, have, size, sources)
            for offset, total, chunk in fetch.run():
                if offset == 0 and stream.tell():
                    digest = hashlib.sha256()
                    stream.seek(0)
                    stream.truncate()
                stream.write(chunk)
                stream.flush()
                digest.update(chunk)
                self.fetched += len(chunk)
                # The last byte is handed out when the hash is right.
                download.report(size=total, ready=min(stream.tell(), total - 1))
        if digest.hexdigest() != sha256:
            draft.unlink()
            raise FetchError(f"{url} has another SHA-256: {digest.hexdigest()}")

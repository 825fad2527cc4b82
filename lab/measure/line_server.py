"""Serve a folder over HTTP, with ranges, and note what each answer sent.

    python -m lab.measure.line_server FOLDER ADDRESS PORT JOURNAL

The journal gets a line of JSON for each answer that has ended: path, size of the file and what was
sent of it (bytes), began and ended (seconds since 1970). Real servers answer ranges, too: uv reads
a wheel's metadata by them, and `--cache` continues what was cut off.
"""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from dataclasses import asdict, dataclass
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

CHUNK = 1 << 16  # bytes


@dataclass(frozen=True)
class SentFile:
    """An answer that has ended. size, sent: bytes; began, ended: seconds since 1970."""

    path: str
    size: int
    sent: int
    began: float
    ended: float


class Journal:
    """A file with a line for each answer."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._lock = threading.Lock()

    def add(self, transfer: SentFile) -> None:
        """Append a line."""
        with self._lock, self.file.open("a") as stream:
            stream.write(f"{json.dumps(asdict(transfer))}\n")

    def read(self) -> list[SentFile]:
        """Return the answers that have ended so far."""
        if not self.file.exists():
            return []
        return [SentFile(**json.loads(line)) for line in self.file.read_text().splitlines()]


class RangeHandler(SimpleHTTPRequestHandler):
    """Serves files, whole or from an offset on."""

    def __init__(self, journal: Journal, *args: object, directory: str) -> None:
        self.journal = journal
        super().__init__(*args, directory=directory)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        """Send a file, or the part that the client asks for."""
        path = Path(self.translate_path(self.path))
        if path.is_dir():
            path = path / "index.html"
        if not path.is_file():
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        size, began = path.stat().st_size, time.time()
        first, last = read_range(self.headers.get("Range", ""), size)
        is_part = (first, last) != (0, size - 1)
        self.send_response(HTTPStatus.PARTIAL_CONTENT if is_part else HTTPStatus.OK)
        if is_part:
            self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Type", self.guess_type(str(path)))
        self.send_header("Content-Length", str(last - first + 1))
        self.end_headers()
        sent = 0
        try:
            with path.open("rb") as stream:
                stream.seek(first)
                while chunk := stream.read(min(CHUNK, last - first + 1 - sent)):
                    self.wfile.write(chunk)
                    sent += len(chunk)
        except OSError:
            self.close_connection = True  # the client has gone away
        finally:
            self.journal.add(SentFile(self.path, size, sent, began, time.time()))

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: the journal has more."""


def read_range(text: str, size: int) -> tuple[int, int]:
    """Return the first and the last byte that a Range header asks for.

    >>> read_range("bytes=5-", 10), read_range("bytes=-3", 10), read_range("", 10)
    ((5, 9), (7, 9), (0, 9))
    """
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", text)
    if match is None or not (match[1] or match[2]):
        return 0, size - 1
    if not match[1]:
        return max(size - int(match[2]), 0), size - 1
    return min(int(match[1]), size - 1), min(int(match[2] or size), size - 1)


def make_server(folder: Path, address: str, port: int, journal: Journal) -> ThreadingHTTPServer:
    """Return a server that listens; port 0 is a free one."""
    handler = partial(RangeHandler, journal, directory=str(folder))
    server = ThreadingHTTPServer((address, port), handler)
    server.daemon_threads = True
    return server


if __name__ == "__main__":
    served, listen, number, notes = sys.argv[1:]
    make_server(Path(served), listen, int(number), Journal(Path(notes))).serve_forever()

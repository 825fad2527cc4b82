"""Hand out files to one rig, over HTTP at the rig's loopback, through its SSH connection.

    GET /TOKEN/SHA256?size=BYTES&url=URL

The rig's fetch-ahead (playbooks/files/fetch_ahead.py) is the client. The token keeps other users of
the rig out. A file that cannot be fetched is an error with the reason, and the rig fetches it
itself.
"""

from __future__ import annotations

import hmac
import re
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

import paramiko

from provision.boundary.text import clean_line
from provision.downloads.sources import FetchError, Sources
from provision.downloads.store import Store

TIMEOUT = 60.0  # seconds in which a rig must take some bytes
AT_ONCE = 8  # requests of one rig
MOST_FILES = 2000  # that one rig may ask for in a run
FORM = re.compile(r"/([\w-]{1,100})/([0-9a-f]{64})")


class Handout:
    """What one rig gets. sent: bytes; refused: the reasons of what it did not get."""

    def __init__(self, store: Store, sources: Sources, token: str) -> None:
        self.store = store
        self.sources = sources
        self.token = token
        self.sent = 0
        self.refused: list[str] = []
        self._requests = 0
        self._lock = threading.Lock()
        self._places = threading.Semaphore(AT_ONCE)

    def accept(self, channel: paramiko.Channel, origin: Any, server: Any) -> None:
        """Answer a connection of the rig's, in a thread: Paramiko's own must not wait."""
        with self._lock:
            self._requests += 1
            is_over = self._requests > MOST_FILES
        if is_over or not self._places.acquire(blocking=False):
            channel.close()
            return
        threading.Thread(target=self._answer, args=(channel,), daemon=True).start()

    def _answer(self, channel: paramiko.Channel) -> None:
        try:
            channel.settimeout(TIMEOUT)
            _Request(self, channel)
        except (OSError, EOFError, paramiko.SSHException):
            pass  # the rig has gone away
        finally:
            channel.close()
            self._places.release()

    def note_sent(self, count: int) -> None:
        """Count bytes that the rig got."""
        with self._lock:
            self.sent += count

    def note_refusal(self, reason: str) -> None:
        """Keep the reason for the summary."""
        with self._lock:
            self.refused.append(reason)


class _Request(BaseHTTPRequestHandler):
    """One request, whose connection is a channel."""

    server_version, sys_version = "deeprig", ""
    has_answered = False

    def __init__(self, handout: Handout, channel: paramiko.Channel) -> None:
        self.handout = handout
        super().__init__(channel, ("rig", 0), None)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        """Send a file from an offset on, as its bytes come."""
        parts = urlsplit(self.path)
        match = FORM.fullmatch(parts.path)
        if match is None or not hmac.compare_digest(match[1], self.handout.token):
            self.send_error(HTTPStatus.FORBIDDEN)
            return
        query = parse_qs(parts.query)
        url, size = query.get("url", [""])[0], query.get("size", ["0"])[0]
        first = re.fullmatch(r"bytes=(\d{1,15})-", self.headers.get("Range", "bytes=0-"))
        if first is None or not re.fullmatch(r"\d{1,15}", size):
            self.send_error(HTTPStatus.BAD_REQUEST)
            return
        try:
            self._send(match[2], url, int(size), int(first[1]))
        except FetchError as error:
            self.handout.note_refusal(clean_line(error.message))
            self.close_connection = True
            if not self.has_answered:
                self.send_error(HTTPStatus.NOT_FOUND, clean_line(error.message)[:200])

    def _send(self, sha256: str, url: str, size: int, first: int) -> None:
        """Send the file. Raises FetchError."""
        self.handout.sources.check(url)
        download = self.handout.store.open(sha256, url, size, self.handout.sources)
        total = download.wait_for_size()
        if first >= total:
            self.send_error(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
            return
        self.has_answered = True
        self.send_response(HTTPStatus.PARTIAL_CONTENT if first else HTTPStatus.OK)
        if first:
            self.send_header("Content-Range", f"bytes {first}-{total - 1}/{total}")
        self.send_header("Content-Length", str(total - first))
        self.end_headers()
        for chunk in download.read(first):
            self.wfile.write(chunk)
            self.handout.note_sent(len(chunk))

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: a rig's words are not for this machine's terminal."""

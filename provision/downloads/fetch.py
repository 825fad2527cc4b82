"""Fetch a file over HTTP, from an offset on, with retries; redirects stay within the sources."""

from __future__ import annotations

import re
import time
import urllib.error
from collections.abc import Iterator
from http import HTTPStatus
from http.client import HTTPException, HTTPMessage
from typing import IO, Any
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    UnknownHandler,
)

from provision.downloads.sources import FetchError, Sources

CHUNK = 1 << 18  # bytes
TIMEOUT = 60.0  # seconds without a byte
ATTEMPTS = 5  # without a byte in between
FIRST_PAUSE = 1.0  # seconds before the second attempt; doubled each time
LARGEST = 8_000_000_000  # bytes of a file
AGAIN = frozenset((408, 425, 429, 500, 502, 503, 504))  # statuses that may be others later


class _CheckedRedirects(HTTPRedirectHandler):
    """Follows only to what may be fetched itself."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        """Return the request of the next address. Raises ForeignUrlError."""
        self._sources.check(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class Fetch:
    """One file. position: the bytes that are here; size: of all, 0 where unknown."""

    def __init__(self, url: str, position: int, size: int, sources: Sources) -> None:
        self.url = url
        self.position = position
        self.size = size
        self._opener = OpenerDirector()  # of HTTP alone: no files, no FTP
        for handler in (
            *(ProxyHandler(), UnknownHandler(), HTTPHandler(), HTTPSHandler()),
            *(HTTPDefaultErrorHandler(), HTTPErrorProcessor(), _CheckedRedirects(sources)),
        ):
            self._opener.add_handler(handler)
        sources.check(url)

    def run(self) -> Iterator[tuple[int, int, bytes]]:
        """Yield offset, size of the file and bytes. An offset of 0 begins again.

        Raises FetchError.
        """
        attempt, pause = 0, FIRST_PAUSE
        while True:
            before = self.position
            try:
                yield from self._run_once()
            except urllib.error.HTTPError as error:
                problem = f"{error.code} {error.reason}"
                if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and self.position:
                    self.position = 0
                elif error.code not in AGAIN:
                    raise FetchError(f"{self.url}: {problem}") from None
            except (OSError, HTTPException) as error:
                problem = str(error) or type(error).__name__
            else:
                return
            attempt = 1 if self.position > before else attempt + 1
            if attempt >= ATTEMPTS:
                raise FetchError(f"{self.url}: {problem}")
            time.sleep(pause)
            pause *= 2

    def _run_once(self) -> Iterator[tuple[int, int, bytes]]:
        headers = {"Range": f"bytes={self.position}-"} if self.position else {}
        request = Request(self.url, headers={"Accept-Encoding": "identity", **headers})
        answer: Any = self._opener.open(request, timeout=TIMEOUT)
        with answer:
            self.position, total = self._read_extent(answer)
            while chunk := answer.read(min(CHUNK, total - self.position + 1)):
                if self.position + len(chunk) > total:
                    raise FetchError(f"{self.url}: more than {total} bytes")
                offset = self.position
                self.position += len(chunk)
                yield offset, total, chunk
            if self.position < total:
                raise OSError(f"it ended after {self.position} of {total} bytes")

    def _read_extent(self, answer: Any) -> tuple[int, int]:
        """Return the offset at which the answer begins, and the file's size. Raises FetchError."""
        offset, total = 0, str(answer.headers.get("Content-Length", ""))
        if answer.status == HTTPStatus.PARTIAL_CONTENT:
            pattern = r"bytes (\d{1,15})-\d{1,15}/(\d{1,15})"
            match = re.fullmatch(pattern, str(answer.headers.get("Content-Range", "")))
            if match is None or int(match[1]) != self.position:
                raise FetchError(f"{self.url}: not the range that was requested")
            offset, total = int(match[1]), match[2]
        if not re.fullmatch(r"\d{1,15}", total) or not 0 < int(total) <= LARGEST:
            raise FetchError(f"{self.url}: a size of {total[:20] or 'unknown'} bytes")
        if self.size and int(total) != self.size:
            raise FetchError(f"{self.url}: {total} bytes, expected {self.size}")
        return offset, int(total)

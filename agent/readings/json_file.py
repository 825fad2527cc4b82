"""A small JSON file that another program replaces from time to time."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

from agent.readings.pcie import raise_exhausted

FILE_MOST_BYTES = 1 << 20
Document = TypeVar("Document")


class JsonFileReader(Generic[Document]):
    """Reads the file repeatedly, and its content only when it has changed.

    parse: what makes a document of the file's JSON; it raises ValueError for another format.
    """

    def __init__(self, file: Path, parse: Callable[[Any], Document]) -> None:
        self._file, self._parse = file, parse
        self._stamp: tuple[int, int] | None = None
        self._document: Document | None = None

    def read(self) -> Document | None:
        """Return the document; None if the file is missing or cannot be read."""
        try:
            status = self._file.stat()
            stamp = (status.st_mtime_ns, status.st_size)
            if stamp != self._stamp:
                self._document = None
                self._stamp = stamp
                if status.st_size <= FILE_MOST_BYTES:
                    content = json.loads(self._file.read_text(encoding="utf-8"))
                    self._document = self._parse(content)
        except FileNotFoundError:
            self._stamp = self._document = None
        except OSError as error:  # read it again the next time, even if the file does not change
            self._stamp = self._document = None
            raise_exhausted(error)
        except (ValueError, RecursionError):
            self._document = None
        return self._document

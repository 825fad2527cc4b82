"""A server, and the sources that name it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from provision.downloads.sources import Sources
from tests.unit.downloads.served import FileServer, serve_files


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serve_files() as state:
        yield state


@pytest.fixture
def sources(server: FileServer) -> Sources:
    return Sources([f"{server.url}/pool/"])

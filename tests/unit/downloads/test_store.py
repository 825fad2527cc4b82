"""Files that are fetched once: continued, checked, shared by readers, and deleted when unused."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from pathlib import Path

import pytest

from provision.downloads import fetch, store
from provision.downloads.sources import FetchError, ForeignUrlError, Sources
from provision.downloads.store import Download, Store
from tests.unit.downloads.served import FileServer

CONTENT = bytes(range(256)) * 2000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pauses between attempts, and small parts."""
    monkeypatch.setattr(fetch, "FIRST_PAUSE", 0.0)
    monkeypatch.setattr(fetch, "CHUNK", 1000)
    monkeypatch.setattr(store, "CHUNK", 999)


@pytest.fixture
def files(tmp_path: Path) -> Store:
    return Store(tmp_path / "downloads")


def ask(files: Store, server: FileServer, sources: Sources, **changes: str | int) -> Download:
    """Open the file /pool/a of the server."""
    server.files.setdefault("/pool/a", CONTENT)
    wanted = {"sha256": DIGEST, "url": f"{server.url}/pool/a", "size": 0, **changes}
    return files.open(sources=sources, **wanted)  # type: ignore[arg-type]


def read(download: Download, first: int = 0) -> bytes:
    return b"".join(download.read(first))


def test_file_is_fetched_once_for_all_readers(
    files: Store, server: FileServer, sources: Sources
) -> None:
    answers: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: answers.append(read(ask(files, server, sources))))
        for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [CONTENT] * 5
    assert server.requests == [("/pool/a", "")]
    assert files.fetched == len(CONTENT)
    assert (files.folder / DIGEST).read_bytes() == CONTENT
    assert not list(files.folder.glob("*.part"))


def test_next_run_has_it_already(files: Store, server: FileServer, sources: Sources) -> None:
    read(ask(files, server, sources))
    again = Store(files.folder)
    assert read(ask(again, server, sources)) == CONTENT
    assert len(server.requests) == 1
    assert again.fetched == 0


def test_damaged_file_is_fetched_again(files: Store, server: FileServer, sources: Sources) -> None:
    (files.folder / DIGEST).write_bytes(CONTENT[:-1] + b"?")
    assert read(ask(files, server, sources)) == CONTENT


def test_reader_gets_the_bytes_as_they_come(
    files: Store, server: FileServer, sources: Sources
) -> None:
    server.gate.clear()
    download = ask(files, server, sources)
    assert download.wait_for_size() == len(CONTENT)
    parts = download.read(0)
    assert CONTENT.startswith(next(parts))
    assert not download.is_done
    server.gate.set()
    assert read(download, 5) == CONTENT[5:]


@pytest.mark.parametrize("first", [0, 1, 1234, len(CONTENT) - 1, len(CONTENT)])
def test_reader_may_begin_in_the_middle(
    files: Store, server: FileServer, sources: Sources, first: int
) -> None:
    assert read(ask(files, server, sources), first) == CONTENT[first:]


@pytest.mark.parametrize("ignores_ranges", [False, True])
@pytest.mark.parametrize("cuts", [[0], [100], [5000, 0, 7], [len(CONTENT) - 1]])
def test_download_that_is_cut_off_is_continued(
    files: Store, server: FileServer, sources: Sources, cuts: list[int], ignores_ranges: bool
) -> None:
    server.cuts, server.ignores_ranges = list(cuts), ignores_ranges
    assert read(ask(files, server, sources)) == CONTENT
    assert len(server.requests) == len(cuts) + 1
    if cuts == [100]:
        assert server.requests[1] == ("/pool/a", "bytes=100-")


@pytest.mark.parametrize("have", [0, 1, 7000, len(CONTENT) - 1])
def test_what_an_earlier_run_left_is_continued(
    files: Store, server: FileServer, sources: Sources, have: int
) -> None:
    (files.folder / f"{DIGEST}.part").write_bytes(CONTENT[:have])
    assert read(ask(files, server, sources)) == CONTENT
    assert server.requests == [("/pool/a", f"bytes={have}-" if have else "")]
    assert files.fetched == len(CONTENT) - have


@pytest.mark.parametrize("left", [CONTENT, CONTENT + b"more"])
def test_draft_that_is_as_long_as_the_file_begins_again(
    files: Store, server: FileServer, sources: Sources, left: bytes
) -> None:
    (files.folder / f"{DIGEST}.part").write_bytes(left)
    assert read(ask(files, server, sources)) == CONTENT


def test_wrong_bytes_of_an_earlier_run_are_not_kept(
    files: Store, server: FileServer, sources: Sources
) -> None:
    (files.folder / f"{DIGEST}.part").write_bytes(b"x" * 50)
    with pytest.raises(FetchError, match="another SHA-256"):
        read(ask(files, server, sources))
    assert read(ask(files, server, sources)) == CONTENT


def test_file_of_another_hash_is_never_complete(
    files: Store, server: FileServer, sources: Sources
) -> None:
    download = ask(files, server, sources, sha256="0" * 64)
    parts: list[bytes] = []
    with pytest.raises(FetchError, match="another SHA-256"):
        parts.extend(download.read(0))
    assert len(b"".join(parts)) < len(CONTENT)
    assert not list(files.folder.glob("0000*[!k]"))


@pytest.mark.parametrize("size", [1, len(CONTENT) - 1, len(CONTENT) + 1])
def test_file_of_another_size_is_refused_before_it_is_fetched(
    files: Store, server: FileServer, sources: Sources, size: int
) -> None:
    with pytest.raises(FetchError, match=f"{len(CONTENT)} bytes, expected {size}"):
        ask(files, server, sources, size=size).wait_for_size()
    assert files.fetched == 0


def test_file_that_is_too_large_is_refused(
    files: Store, server: FileServer, sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "LARGEST", len(CONTENT) - 1)
    with pytest.raises(FetchError, match="a size of"):
        ask(files, server, sources).wait_for_size()


def test_busy_server_is_asked_again(files: Store, server: FileServer, sources: Sources) -> None:
    server.statuses["/pool/a"] = [503, 429]
    assert read(ask(files, server, sources)) == CONTENT
    assert len(server.requests) == 3


def test_server_that_never_answers_is_an_error(
    files: Store, server: FileServer, sources: Sources
) -> None:
    server.statuses["/pool/a"] = [503] * 9
    with pytest.raises(FetchError, match="503"):
        read(ask(files, server, sources))
    assert len(server.requests) == fetch.ATTEMPTS


def test_missing_file_is_an_error_at_once(
    files: Store, server: FileServer, sources: Sources
) -> None:
    with pytest.raises(FetchError, match="404"):
        read(ask(files, server, sources, url=f"{server.url}/pool/none"))
    assert len(server.requests) == 1
    assert read(ask(files, server, sources)) == CONTENT  # the next request may succeed


def test_redirect_within_the_sources_is_followed(
    files: Store, server: FileServer, sources: Sources
) -> None:
    server.redirects["/pool/old"] = f"{server.url}/pool/a"
    assert read(ask(files, server, sources, url=f"{server.url}/pool/old")) == CONTENT


@pytest.mark.parametrize(
    "target", ["{url}/private/a", "/private/a", "file:///etc/passwd", "http://127.0.0.1:1/pool/a"]
)
def test_redirect_out_of_the_sources_is_refused(
    files: Store, server: FileServer, sources: Sources, target: str
) -> None:
    server.files["/private/a"] = CONTENT
    server.redirects["/pool/old"] = target.format(url=server.url)
    with pytest.raises(FetchError, match=r"is not (below|allowed)"):
        read(ask(files, server, sources, url=f"{server.url}/pool/old"))
    assert [path for path, _ in server.requests] == ["/pool/old"]


def test_foreign_url_is_not_fetched(files: Store, server: FileServer, sources: Sources) -> None:
    with pytest.raises(FetchError, match="is not below"):
        read(ask(files, server, sources, url=f"{server.url}/private/a"))
    assert server.requests == []
    assert issubclass(ForeignUrlError, FetchError)


def test_folder_is_private(files: Store) -> None:
    assert files.folder.stat().st_mode & 0o777 == 0o700


def test_longest_unused_files_go_first(files: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    for number, name in enumerate(("new", "middle", "old")):
        (files.folder / name).write_bytes(b"x" * 100)
        os.utime(files.folder / name, (now, now - 1000 * number))
    monkeypatch.setattr(store, "MOST_KEPT", 250)
    files.prune()
    assert {path.name for path in files.folder.iterdir()} == {"new", "middle"}


def test_what_is_not_used_for_long_goes(files: Store) -> None:
    now = time.time()
    (files.folder / "used").write_bytes(b"x")
    (files.folder / "unused").write_bytes(b"x")
    os.utime(files.folder / "unused", (now, now - store.KEPT_SECONDS - 60))
    files.prune()
    assert {path.name for path in files.folder.iterdir()} == {"used"}


def test_use_counts_as_new(files: Store, server: FileServer, sources: Sources) -> None:
    read(ask(files, server, sources))
    os.utime(files.folder / DIGEST, (0, 0))
    again = Store(files.folder)
    read(ask(again, server, sources))
    again.prune()
    assert (again.folder / DIGEST).exists()

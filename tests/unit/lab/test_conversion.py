"""The arithmetic of the benchmark of a first conversion, and the server at the end of its line."""

from __future__ import annotations

import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.measure.conversion import Conversion, measure_union
from lab.measure.line_server import Journal, SentFile, make_server, read_range


def transfer(path: str, size: int, sent: int, began: float, ended: float) -> SentFile:
    return SentFile(path, size, sent, began, ended)


RUN = Conversion(
    began=100,
    ended=150,
    reboot_seconds=5,
    transfers=[
        transfer("/a", 3000, 1000, 101, 111),  # cut off, and fetched again
        transfer("/a", 3000, 3000, 120, 130),
        transfer("/b", 500, 500, 105, 115),
        transfer("/b", 500, 500, 149, 160),  # ends after the run
    ],
)


def test_each_file_is_needed_once() -> None:
    assert RUN.needed_bytes == 3500
    assert RUN.sent_bytes == 5000


def test_ratio_compares_with_line_and_reboot() -> None:
    assert RUN.ideal_seconds(bytes_per_second=100) == 35 + 5
    assert RUN.ratio(bytes_per_second=100) == 50 / 40


def test_line_is_idle_while_nothing_is_sent() -> None:
    assert RUN.idle_seconds == 50 - (115 - 101) - 10 - 1


@pytest.mark.parametrize(
    ("spans", "length"),
    [
        ([], 0),
        ([(2, 4)], 2),
        ([(2, 4), (3, 5)], 3),
        ([(2, 8), (3, 5), (7, 9)], 7),
        ([(-5, 1), (9, 20)], 2),
        ([(-5, 20)], 10),
        ([(11, 12)], 0),
    ],
)
def test_overlapping_spans_count_once(spans: list[tuple[float, float]], length: float) -> None:
    assert measure_union(spans, 0, 10) == length


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", (0, 9)),
        ("bytes=0-", (0, 9)),
        ("bytes=4-6", (4, 6)),
        ("bytes=4-99", (4, 9)),
        ("bytes=-2", (8, 9)),
        ("bytes=-99", (0, 9)),
        ("items=1-2", (0, 9)),
        ("bytes=-", (0, 9)),
    ],
)
def test_ranges_are_read(text: str, expected: tuple[int, int]) -> None:
    assert read_range(text, 10) == expected


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, Journal]]:
    (tmp_path / "files").mkdir()
    (tmp_path / "files/ten").write_text("0123456789")
    journal = Journal(tmp_path / "journal")
    server = make_server(tmp_path / "files", "127.0.0.1", 0, journal)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", journal
    server.shutdown()
    thread.join()
    server.server_close()


def test_server_notes_what_it_sent(served: tuple[str, Journal]) -> None:
    url, journal = served
    part = urllib.request.Request(f"{url}/ten", headers={"Range": "bytes=7-"})
    with urllib.request.urlopen(part) as answer:
        assert (answer.status, answer.read()) == (206, b"789")
        assert answer.headers["Content-Range"] == "bytes 7-9/10"
    with urllib.request.urlopen(f"{url}/ten") as answer:
        assert (answer.status, answer.read()) == (200, b"0123456789")
    deadline = time.monotonic() + 10  # a line is written after the last byte
    while len(journal.read()) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    notes = sorted(journal.read(), key=lambda note: note.sent)
    assert [(note.path, note.size, note.sent) for note in notes] == [
        ("/ten", 10, 3),
        ("/ten", 10, 10),
    ]
    assert all(note.began <= note.ended for note in notes)

"""Xids: read from the kernel's log, and counted once though two sources report them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.readings.xid import RECORD_MOST, KernelLog, XidCatalogue, XidCounter
from tests.unit.agent import samples

LINES = yaml.safe_load((Path(__file__).parent / "xid_lines.yml").read_text())
GPU, OTHER = "0000:04:00.0", "0000:06:00.0"
LINE = "NVRM: Xid (PCI:0000:04:00): 79, GPU has fallen off the bus.\n"


@pytest.fixture
def kernel_log(tmp_path: Path) -> Path:
    file = tmp_path / "kmsg"
    file.write_text("NVRM: Xid (PCI:0000:04:00): 31, from before\n")
    return file


def append(file: Path, text: str) -> None:
    with file.open("a") as log:
        log.write(text)


@pytest.mark.parametrize("case", LINES, ids=[case["line"][:60] for case in LINES])
def test_xid_is_parsed_from_a_log_line(case: dict[str, Any], kernel_log: Path) -> None:
    log = KernelLog(str(kernel_log))
    append(kernel_log, case["line"] + "\n")
    assert log.read() == ([tuple(case["xid"])] if case["xid"] else [])


def test_new_lines_are_read_once(kernel_log: Path) -> None:
    log = KernelLog(str(kernel_log))
    assert log.is_readable
    assert log.read() == []
    append(kernel_log, LINE * 2)
    assert log.read() == [(GPU, 79)] * 2
    assert log.read() == []
    append(kernel_log, LINE)
    assert log.read() == [(GPU, 79)]


def test_partial_line_is_read_when_complete(kernel_log: Path) -> None:
    log = KernelLog(str(kernel_log))
    append(kernel_log, LINE[:40])
    assert log.read() == []
    append(kernel_log, LINE[40:])
    assert log.read() == [(GPU, 79)]


def test_many_lines_and_invalid_utf8_are_read(kernel_log: Path) -> None:
    log = KernelLog(str(kernel_log))
    with kernel_log.open("ab") as file:
        file.write(b"\xff\xfe\x00\n" + LINE.encode() * 1000 + b"\x80\n")
    assert log.read() == [(GPU, 79)] * 1000


def test_missing_log_is_not_readable(tmp_path: Path) -> None:
    log = KernelLog(str(tmp_path / "gone"))
    assert not log.is_readable
    assert log.read() == []


def test_log_without_permission_is_not_readable(
    kernel_log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with kernel.dmesg_restrict for users other than root."""

    def refuse(*_: object) -> int:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "open", refuse)
    log = KernelLog(str(kernel_log))
    assert not log.is_readable
    assert log.read() == []


def test_folder_is_not_readable_as_a_log(tmp_path: Path) -> None:
    log = KernelLog(str(tmp_path))
    assert log.read() == []
    assert not log.is_readable


def test_fifo_is_read_while_writers_come_and_go(tmp_path: Path) -> None:
    pipe = tmp_path / "kmsg"
    os.mkfifo(pipe)
    log = KernelLog(str(pipe))
    assert log.is_readable
    assert log.read() == [], "without a writer, reading does not wait"
    for _ in range(2):
        writer = os.open(pipe, os.O_WRONLY)
        assert log.read() == [], "a silent writer does not make it wait"
        os.write(writer, LINE.encode())
        assert log.read() == [(GPU, 79)]
        os.close(writer)
        assert log.read() == []
    assert log.is_readable


def test_endless_line_is_not_kept_in_memory(kernel_log: Path) -> None:
    log = KernelLog(str(kernel_log))
    for _ in range(5):
        append(kernel_log, "x" * 50_000)
        assert log.read() == []
        assert len(log._rest) <= RECORD_MOST
    append(kernel_log, "\n" + LINE.strip() + "y" * 50_000)
    assert log.read() == []
    append(kernel_log, "\n")
    assert log.read() == [(GPU, 79)], "what it begins with is kept"


def test_log_with_a_read_error_is_not_readable(
    kernel_log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = KernelLog(str(kernel_log))

    def fail(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "read", fail)
    assert log.read() == []
    assert not log.is_readable


def test_reading_continues_after_overwritten_records(
    kernel_log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """/dev/kmsg returns EPIPE for lost messages, and EAGAIN at the end."""
    log = KernelLog(str(kernel_log))
    answers: list[Any] = [BrokenPipeError(), LINE.encode(), BlockingIOError()]

    def read(*_: object) -> bytes:
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return bytes(answer)

    monkeypatch.setattr(os, "read", read)
    assert log.read() == [(GPU, 79)]
    assert (log.is_readable, answers) == (True, [])


@pytest.mark.parametrize(
    ("reported", "count", "last"),
    [
        ("nvml@1 kernel@2", 1, 1),
        ("kernel@1 nvml@2", 1, 1),
        ("nvml@1 nvml@2 kernel@3 kernel@4", 2, 2),
        ("nvml@1 kernel@1 nvml@5 kernel@6", 2, 5),
        ("kernel@1 kernel@2 kernel@3 nvml@4", 3, 3),  # of a GPU that NVML had lost
        ("nvml@1 kernel@2 kernel@3", 2, 3),
    ],
)
def test_xid_from_two_sources_is_counted_once(reported: str, count: int, last: float) -> None:
    counter = XidCounter([])
    for word in reported.split():
        source, _, at = word.partition("@")
        counter.add(source, GPU, 79, float(at))
    (xid_count,) = counter.read([GPU])
    assert (xid_count.address, xid_count.xid, xid_count.count, xid_count.last_at) == (
        GPU,
        79,
        count,
        last,
    )


def test_xids_are_counted_by_gpu_and_number() -> None:
    counter = XidCounter([])
    counter.add("nvml", GPU, 79, 1)
    counter.add("kernel", OTHER, 79, 2)
    counter.add("kernel", GPU, 31, 3)
    counts = [(count.address, count.xid, count.count) for count in counter.read([])]
    assert counts == [(GPU, 31, 1), (GPU, 79, 1), (OTHER, 79, 1)], "also of a GPU that is gone"


def test_well_known_xids_start_at_zero() -> None:
    catalogue = XidCatalogue(samples.table("xids"))
    counter = XidCounter(catalogue.list_well_known())
    before = {(count.address, count.xid): count for count in counter.read([GPU, OTHER])}
    assert {count.count for count in before.values()} == {0}
    assert before[GPU, 79].last_at is None
    assert len(before) == 2 * len(catalogue.list_well_known())
    counter.add("kernel", GPU, 79, 5)
    after = {(count.address, count.xid): count.count for count in counter.read([GPU, OTHER])}
    assert after == dict.fromkeys(before, 0) | {(GPU, 79): 1}


def test_unknown_xid_uses_the_default_row() -> None:
    catalogue = XidCatalogue(samples.table("xids"))
    assert (catalogue[79].number, catalogue[79].status) == (79, "critical")
    assert (catalogue[4711].number, catalogue[4711].name) == (4711, "Unknown Xid")

"""Result files that follow docs/nccl-results.md, and files that are ignored."""

from __future__ import annotations

import copy
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.readings import nccl
from agent.readings.nccl import FILE_MOST_BYTES, FILES_MOST, IgnoredFile, ResultReader
from agent.readings.rates import NCCL_LANE

DOCUMENT = (Path(__file__).parents[4] / "docs/nccl-results.md").read_text()
(EXAMPLE_TEXT,) = re.findall(r"^```json\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)
EXAMPLE: dict[str, Any] = json.loads(EXAMPLE_TEXT)
GARBAGE = yaml.safe_load((Path(__file__).parent / "nccl_garbage.yml").read_text())
NAMES = [case["case"] for case in GARBAGE]


def write(folder: Path, name: str, bandwidth: float = 1e9, **changes: Any) -> None:
    """Write the example with changes, as a run does."""
    document = copy.deepcopy(EXAMPLE) | changes
    document["collectives"][0]["sizes"][-1]["bus_bandwidth_bytes_per_second"] = bandwidth
    (folder / ".result.tmp").write_text(json.dumps(document))
    (folder / ".result.tmp").rename(folder / name)


def change_places(target: dict[str, Any], changes: dict[str, Any]) -> None:
    for key, value in changes.items():
        if value is None:
            del target[key]
        else:
            target[key] = value


def content(case: dict[str, Any]) -> bytes:
    if "hex" in case:
        return bytes.fromhex(case["hex"])
    if "text" in case:
        return str(case["text"]).encode()
    document = copy.deepcopy(EXAMPLE)
    collective = document["collectives"][0]
    change_places(collective["sizes"][0], case.get("size", {}))
    change_places(collective, case.get("collective", {}))
    change_places(document, case.get("change", {}))
    return json.dumps(document).encode()


def test_example_of_the_document_is_parsed(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(EXAMPLE_TEXT)
    results = ResultReader(tmp_path).read()
    assert (results.ignored, results.files_read) == ((), 1)
    (result,) = results.results
    small, large = EXAMPLE["collectives"][0]["sizes"]
    assert result == nccl.CollectiveResult(
        file="x.json",
        collective="all_reduce",
        backend="nccl",
        ranks=3,
        finished_at=EXAMPLE["finished_at"],
        size_bytes=large["size_bytes"],
        bus_bandwidth=large["bus_bandwidth_bytes_per_second"],
        latency_seconds=small["time_seconds"],
        wrong_values=0,
        gpus=tuple(EXAMPLE["gpus"]),
        nccl_version=EXAMPLE["nccl_version"],
    )
    # busbw of an all_reduce: size / time x 2 (n - 1) / n (nccl-tests, doc/PERFORMANCE.md).
    for size in (small, large):
        factor = 2 * (result.ranks - 1) / result.ranks
        busbw = size["size_bytes"] / size["time_seconds"] * factor
        assert size["bus_bandwidth_bytes_per_second"] == pytest.approx(busbw, rel=1e-3)


def test_document_lists_every_key_and_limit() -> None:
    words = set(re.findall(r"`([^`\n]+)`", DOCUMENT))
    assert {*nccl.COLLECTIVES, *nccl.BACKENDS, nccl.FORMAT} <= words
    entry = EXAMPLE["collectives"][0]
    assert {*EXAMPLE, *entry, *entry["sizes"][0]} <= words
    assert f"{FILE_MOST_BYTES >> 20} MiB" in DOCUMENT
    assert f"more than {FILES_MOST}" in DOCUMENT
    rows = re.findall(r"^\| ([\d.]+) GT/s \(Gen\d\) \| ([\d. |]+) \|$", DOCUMENT, re.MULTILINE)
    documented = {
        float(speed) * 1e9: [float(figure) * 1e9 for figure in figures.split(" | ")]
        for speed, figures in rows
    }
    assert documented == {
        speed: [lane, lane, lane * 4, lane * 16] for speed, lane in NCCL_LANE.items()
    }


@pytest.mark.parametrize("case", GARBAGE, ids=NAMES)
def test_invalid_file_is_ignored_with_a_reason(case: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(content(case))
    write(tmp_path, "good.json")
    results = ResultReader(tmp_path).read()
    assert [file.file for file in results.ignored] == ["x.json"]
    assert case["reason"] in results.ignored[0].reason
    assert [result.file for result in results.results] == ["good.json"]
    assert results.files_read == 1


def test_integer_beyond_the_float_range_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(EXAMPLE_TEXT.replace("1772366400.0", "1" + "0" * 400))
    (ignored,) = ResultReader(tmp_path).read().ignored
    assert ignored == IgnoredFile("x.json", "'finished_at' is larger than 2^63")


@pytest.mark.parametrize("field", ["version", "backend"])
def test_reason_is_one_short_line(field: str, tmp_path: Path) -> None:
    wide: Any = "v" * 100
    for _ in range(5):
        wide = [wide] * 6
    values = ("v" * 100_000, [["v"] * 100_000], {"a\nb": "\ud800"}, wide)
    for number, value in enumerate(values):
        (tmp_path / f"{number}.json").write_text(json.dumps(EXAMPLE | {field: value}))
    ignored = ResultReader(tmp_path).read().ignored
    assert len(ignored) == len(values)
    for file in ignored:
        assert len(file.reason.encode()) < 120
        assert "\n" not in file.reason


def test_unreadable_file_is_ignored_with_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "good.json")
    write(tmp_path, "x.json")
    original = Path.read_text

    def refuse(path: Path, **words: Any) -> str:
        if path.name == "x.json":
            raise PermissionError(13, "Permission denied")
        return original(path, **words)

    monkeypatch.setattr(Path, "read_text", refuse)
    results = ResultReader(tmp_path).read()
    assert results.ignored == (IgnoredFile("x.json", "Permission denied"),)
    assert [result.file for result in results.results] == ["good.json"]


def test_deeply_nested_json_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("[" * 200_000)
    assert ResultReader(tmp_path).read().ignored == (IgnoredFile("x.json", "not JSON"),)


def test_folders_links_and_fifos_are_ignored(tmp_path: Path) -> None:
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "loop.json").symlink_to("loop.json")
    (tmp_path / "nowhere.json").symlink_to("gone")
    os.mkfifo(tmp_path / "pipe.json")  # a reader that opened it would wait for ever
    (tmp_path / "large.json").write_bytes(b" " * (FILE_MOST_BYTES + 1))
    ignored = {file.file: file.reason for file in ResultReader(tmp_path).read().ignored}
    assert ignored == {
        "folder.json": "not a regular file",
        "loop.json": "Too many levels of symbolic links",
        "nowhere.json": "No such file or directory",
        "pipe.json": "not a regular file",
        "large.json": "larger than 4 MiB",
    }


def test_file_of_the_largest_allowed_size_is_read(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(EXAMPLE_TEXT.ljust(FILE_MOST_BYTES))
    results = ResultReader(tmp_path).read()
    assert (results.ignored, results.files_read) == ((), 1)


def test_largest_allowed_number_is_read(tmp_path: Path) -> None:
    write(tmp_path, "x.json", finished_at=2**63)
    write(tmp_path, "y.json", finished_at=2**63 + 1)
    assert ResultReader(tmp_path).read().ignored == (
        IgnoredFile("y.json", "'finished_at' is larger than 2^63"),
    )


def test_dangling_link_is_read_when_its_target_exists(tmp_path: Path) -> None:
    folder = tmp_path / "nccl"
    folder.mkdir()
    (folder / "x.json").symlink_to(tmp_path / "elsewhere.json")
    reader = ResultReader(folder)
    assert [file.reason for file in reader.read().ignored] == ["No such file or directory"]
    write(tmp_path, "elsewhere.json")
    assert [result.file for result in reader.read().results] == ["x.json"]


def test_file_deleted_while_listing_is_not_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "x.json")
    original = os.scandir

    @contextmanager
    def scandir(folder: Path) -> Iterator[list[os.DirEntry[str]]]:
        with original(folder) as entries:
            files = list(entries)
        (tmp_path / "x.json").unlink()
        yield files

    monkeypatch.setattr(os, "scandir", scandir)
    assert ResultReader(tmp_path).read() == nccl.CollectiveResults()


def test_file_name_that_is_not_utf8_is_reported_as_text(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"\xff.json")).write_text("")
    (ignored,) = ResultReader(tmp_path).read().ignored
    assert ignored.file.encode() == "\ufffd.json".encode()


def test_files_without_the_json_suffix_are_skipped(tmp_path: Path) -> None:
    (tmp_path / ".result.tmp").write_text("half")
    (tmp_path / "README").write_text("text")
    assert ResultReader(tmp_path).read() == nccl.CollectiveResults()
    assert ResultReader(tmp_path / "gone").read() == nccl.CollectiveResults()


def test_newest_result_is_selected_by_finish_time(tmp_path: Path) -> None:
    write(tmp_path, "z.json", 1e9, finished_at=100)
    write(tmp_path, "a.json", 2e9, finished_at=200)
    write(tmp_path, "b.json", 3e9, finished_at=50, ranks=2)
    write(tmp_path, "c.json", 4e9, finished_at=50, backend="gloo")
    results = ResultReader(tmp_path).read()
    assert {result.name: (result.file, result.bus_bandwidth) for result in results.results} == {
        "all_reduce nccl 3": ("a.json", 2e9),
        "all_reduce nccl 2": ("b.json", 3e9),
        "all_reduce gloo 3": ("c.json", 4e9),
    }
    assert results.files_read == 4


def test_only_changed_files_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "stays.json", ranks=2)
    write(tmp_path, "x.json", 1e9)
    reader = ResultReader(tmp_path)
    reader.read()
    read: list[str] = []
    original = nccl.read_file

    def note_stat(path: Path) -> list[nccl.CollectiveResult] | IgnoredFile:
        read.append(path.name)
        return original(path)

    monkeypatch.setattr(nccl, "read_file", note_stat)
    write(tmp_path, "x.json", 2.5e9)
    assert [result.bus_bandwidth for result in reader.read().results] == [1e9, 2.5e9]
    assert read == ["x.json"]
    (tmp_path / "x.json").unlink()
    assert [result.ranks for result in reader.read().results] == [2]


def test_wrong_values_are_summed_or_unknown_if_not_checked(tmp_path: Path) -> None:
    entry = copy.deepcopy(EXAMPLE["collectives"][0])
    for size, count in zip(entry["sizes"], (2, 3), strict=True):
        size["wrong_values"] = count
    entry["sizes"].reverse()  # any order
    unseen = copy.deepcopy(EXAMPLE["collectives"][0]) | {"collective": "broadcast"}
    for size in unseen["sizes"]:
        del size["wrong_values"]
    (tmp_path / "x.json").write_text(json.dumps(EXAMPLE | {"collectives": [entry, unseen]}))
    wrong, unknown = ResultReader(tmp_path).read().results
    assert (wrong.wrong_values, wrong.size_bytes, wrong.latency_seconds) == (5, 268435456, 4.12e-5)
    assert unknown.wrong_values is None

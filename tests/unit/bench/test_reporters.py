"""Output for people and for programs."""

from __future__ import annotations

import json

import pytest

from agent.bench import document, text_tables
from agent.bench.entries import BenchDocument, CollectiveSize, PairEntry
from agent.bench.reporters import JsonReporter, TextReporter


def create_troubled_document() -> BenchDocument:
    made = document.create_document(
        plan="full", backend="nccl", ranks=3, nodes=1, hostname="rig", now=0.0
    )
    rank = {
        "state": "T (stopped)",
        "exit": None,
        "at": "all_reduce of 1024 bytes, repeat 3",
        "kernel_wait": "do_signal_stop",
        "stack": "",
        "log_tail": "a line\nRuntimeError: " + "x " * 60,
    }
    made["problems"] = [
        document.build_problem(
            "collectives",
            "hang",
            "no rank got on for 60 s; rank 1 is T (stopped)",
            document.WRONG_VALUES_ADVICE["nccl"],
            {"1": rank},
        )
    ]
    made["parts"] = [
        {"part": "collectives", "status": "hang", "seconds": 9.0, "reason": ""},
        {"part": "ddp", "status": "ok", "seconds": 3.0, "reason": ""},
        {"part": "three_d", "status": "skipped", "seconds": 0.0, "reason": ""},
    ]
    made["finished_at"] = 12.0
    return made


def test_text_reporter_prints_lines_and_the_summary(capsys: pytest.CaptureFixture[str]) -> None:
    text = TextReporter()
    text.begin("collectives", 2, 11)
    text.line("# all_reduce")
    text.end("collectives", "failed", 3.21, "no rank got on for 60 s; rank 1 is T (stopped)")
    text.document(create_troubled_document())
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        "== collectives (2 of 11)",
        "# all_reduce",
        "   collectives failed: no rank got on for 60 s; rank 1 is T (stopped)  3.2 s",
    ]
    assert lines[4] == "!! collectives: no rank got on for 60 s; rank 1 is T (stopped)"
    assert any("RuntimeError" in line for line in lines)
    assert lines[-1] == "1 parts ok, 1 skipped, 1 failed in 12 s: nccl, 3 ranks"
    assert max(map(len, lines)) <= 80


def test_json_reporter_prints_one_event_per_line(capsys: pytest.CaptureFixture[str]) -> None:
    events = JsonReporter()
    events.begin("ddp", 1, 2)
    events.line("a\nb")
    events.end("ddp", "ok", 1.23456, "")
    events.document({"format": "deeprig-bench"})
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [
        {"event": "begin", "part": "ddp", "number": 1, "of": 2},
        {"event": "line", "text": "a\nb"},
        {"event": "end", "part": "ddp", "status": "ok", "seconds": 1.235, "reason": ""},
        {"event": "document", "document": {"format": "deeprig-bench"}},
    ]


def test_columns_match_nccl_tests() -> None:
    entry: CollectiveSize = {
        "size_bytes": 268435456,
        "count": 67108864,
        "time_seconds": 0.512,
        "times": [0.512],
        "algorithm_bandwidth_bytes_per_second": 0.5243e9,
        "bus_bandwidth_bytes_per_second": 0.699e9,
        "wrong_values": 0,
    }
    _, heads, units = text_tables.format_collective_heading("all_reduce")
    row = text_tables.format_collective_row(entry, "float32", "sum", -1)
    assert heads.split() == [
        "size",
        "count",
        "type",
        "redop",
        "root",
        "time",
        "algbw",
        "busbw",
        "#wrong",
    ]
    assert row.split() == [
        "268435456",
        "67108864",
        "float",
        "sum",
        "-1",
        "512000.00",
        "0.52",
        "0.70",
        "0",
    ]
    assert len(row) == len(heads) <= 80
    assert [heads.index(unit) for unit in ("algbw", "busbw")] == [
        units.index("(GB/s)") + 1,
        units.rindex("(GB/s)") + 1,
    ]


def test_pairs_show_wrong_values_only_if_there_are_any() -> None:
    def create_pair(source: int, target: int, wrong: int) -> PairEntry:
        return {
            "from": source,
            "to": target,
            "size_bytes": 1 << 20,
            "bandwidth_bytes_per_second": 1e9,
            "latency_seconds": 2e-5,
            "wrong_values": wrong,
        }

    right = text_tables.format_pairs([create_pair(0, 1, 0), create_pair(1, 0, 0)], 2)
    assert right[2].split() == ["0", "-", "1.00"]
    assert right[3].split() == ["1", "1.00", "-"]
    assert not any("wrong" in line for line in right)
    wrong = text_tables.format_pairs([create_pair(0, 1, 0), create_pair(1, 0, 5)], 2)
    assert wrong[-1].split() == ["1", "5", "-"]

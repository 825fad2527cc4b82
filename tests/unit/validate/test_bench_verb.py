"""`fab bench`: the command on each rig, and the operator's output."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from fabric import Config
from invoke.exceptions import Exit

from provision.bench import command
from provision.bench.command import BenchRequest, Screen, bench
from provision.boundary.documents import BenchEvent
from provision.cli.flags import Flags
from provision.cli.fleet import FleetContext
from provision.errors import ExitStatus, PatternError
from provision.inventory.hosts import Host
from provision.paths import BENCH_PROGRAM
from provision.ssh.connection import RigConnection
from provision.ssh.shell import OnLine, ShellResult

DOCUMENT = {
    "format": "deeprig-bench",
    "version": 1,
    "backend": "nccl",
    "ranks": 3,
    "finished_at": 1.0,
    "collectives": [],
    "problems": [],
}


def test_command_for_one_rig() -> None:
    words = shlex.split(BenchRequest("quick", ("collectives", "ddp"), ranks=2).command())
    assert words[:3] == [BENCH_PROGRAM, "collectives", "ddp"]
    assert words[words.index("--plan") + 1] == "quick"
    assert words[words.index("--ranks") + 1] == "2"
    assert "--events" in words
    assert "--nodes" not in words
    assert words[words.index("--results") + 1] == "/var/lib/deeprig/nccl"


def test_command_for_several_rigs_as_one_job() -> None:
    request = BenchRequest(nodes=2, interface="eth0", sizes={"min-bytes": "1M"})
    words = shlex.split(request.command(1, "192.168.1.50:29400"))
    for flag, value in {
        "--nodes": "2",
        "--node-rank": "1",
        "--rendezvous": "192.168.1.50:29400",
        "--interface": "eth0",
        "--min-bytes": "1M",
    }.items():
        assert words[words.index(flag) + 1] == value


def test_more_nodes_than_rigs_is_refused(tmp_path: Any) -> None:
    inventory = tmp_path / "rigs.yml"
    inventory.write_text("rigs: {hosts: {one: {}}}")
    context = FleetContext(Config())
    object.__setattr__(context, "patterns", ("one",))

    with pytest.raises(PatternError, match="--nodes 2 needs as many rigs, and -H names 1"):
        bench(context, Flags(inventory=str(inventory)), BenchRequest(nodes=2))


class FakeShell:
    """A rig by its address: `cut` loses the connection in the middle, `well` measures all."""

    def __init__(self, connection: RigConnection, password: str | None) -> None:
        self.name = connection.original_host

    def run(self, command: str, on_line: OnLine | None = None, **_bounds: Any) -> ShellResult:
        if on_line is None:
            return ShellResult(0, b"", b"")
        if self.name == "cut":
            return ShellResult(-1, b"", b"")
        on_line(json.dumps({"event": "document", "document": DOCUMENT}))
        return ShellResult(0, b"", b"")

    def close(self) -> None:
        """Nothing is open."""


def test_a_rig_whose_connection_ended_is_not_a_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "RootShell", FakeShell)
    monkeypatch.setattr(command, "LOG", tmp_path / "log")
    inventory = tmp_path / "rigs.yml"
    inventory.write_text("rigs: {hosts: {cut: {}, well: {}}}")
    context = FleetContext(Config())
    object.__setattr__(context, "patterns", ("cut,well",))

    with pytest.raises(Exit) as ended:
        bench(context, Flags(inventory=str(inventory)), BenchRequest())
    assert ended.value.code == ExitStatus.UNREACHABLE
    printed = capsys.readouterr()
    assert "the connection ended before the benchmarks did\n  host: cut" in printed.err
    assert "well: " in printed.out


def test_output_lines_are_shown_without_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen([Host("rig", {"ansible_password": "hush-hush"}, ())], quiet=False)
    events: list[BenchEvent] = [
        {"event": "begin", "part": "ddp", "number": 1, "of": 2},
        {"event": "line", "text": "  a table's line, hush-hush"},
        {"event": "end", "part": "ddp", "status": "ok", "reason": ""},
        {"event": "end", "part": "moe", "status": "skipped", "reason": "one GPU"},
        {"event": "document", "document": {}},
    ]
    for event in events:
        screen.event("rig", event)
    assert capsys.readouterr().out.splitlines() == [
        "# ddp (1 of 2)",
        "  a table's line, ********",
        "# moe skipped: one GPU",
    ]


def test_lines_of_several_rigs_start_with_the_host_name(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen([Host("rig", {}, ()), Host("rig10", {}, ())], quiet=False)
    screen.line("rig", "x")
    assert capsys.readouterr().out == "rig    x\n"

"""`fab advise` as the operator types it: flags, errors, several rigs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fabric import Config
from invoke.exceptions import Exit

from provision.advise import command, rig_measurements
from provision.cli.flags import Flags
from provision.cli.fleet import FleetContext
from provision.errors import DeeprigError, UnreachableError
from provision.inventory.hosts import Host
from provision.performance.machine import Machine
from tests.unit.advise import rigs

ROOT = Path(__file__).parents[3]
USUAL: dict[str, Any] = {
    "model": "gpt2",
    "layers": "",
    "hidden": "",
    "heads": "",
    "kv_heads": "",
    "feed_forward": "",
    "vocabulary": "",
    "experts": "",
    "top_k": "",
    "precision": "bf16",
    "sequence": "1024",
    "batch": "1",
    "accumulate": "4",
    "streams": "1",
    "gpus": "2x RTX 3090",
    "links": "",
    "board": "",
    "cpu": "",
    "p2p": False,
    "measured": "",
    "explain": False,
    "plot": "",
}


def advise(flags: Flags | None = None, **changes: Any) -> bool:
    context = FleetContext(Config())
    object.__setattr__(context, "patterns", ())
    try:
        command.advise(context, flags or Flags(), command.parse_options({**USUAL, **changes}))
    except Exit as ended:
        return ended.code == 0
    return True


def test_command_line_works_with_all_flags_and_no_rig() -> None:
    flags = ["--gpus", "3x RTX 3090", "--links", "gen2x1,gen2x1,gen3x16", "--kv-heads", "4"]
    model = ["--layers", "12", "--hidden", "1024", "--heads", "8", "--feed-forward", "4096"]
    more = ["--vocabulary", "1000", "--precision", "fp32", "--accumulate", "2", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "fabric", "advise", *flags, *model, *more],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["precision"] == "fp32"
    assert document["models"][0]["model"] == "yours"
    assert [link["width"] for link in document["rig"]["links"]] == [1, 1, 16]


@pytest.mark.parametrize(
    ("changes", "message", "advice"),
    [
        ({"model": "gpt3"}, "unknown model 'gpt3'", "gpt2"),
        ({"precision": "int2"}, "unknown precision 'int2'", "int4"),
        ({"batch": "0"}, "--batch 0: a whole number is wanted", ""),
        ({"streams": "-1"}, "--streams -1: a whole number is wanted", ""),
        ({"layers": "abc"}, "--layers abc: a whole number is wanted", ""),
        ({"model": ","}, "--model names none", "llama-2-7b"),
        ({"model": "", "layers": "100000", "hidden": "256"}, "more than 1000", ""),
        ({"model": "", "layers": "2", "hidden": "100", "heads": "300"}, "can't share 100", ""),
        ({"links": "gen3x4"}, "1 links for 2 GPUs", "--links"),
        ({"gpus": "2x RTX 9999"}, "unknown GPU 'RTX 9999'", ""),
        ({"layers": "12"}, "--model names a model", ""),
        ({"model": "", "layers": "12"}, "a model needs --hidden", ""),
        (
            {"model": "", "layers": "2", "hidden": "258", "heads": "3", "kv_heads": "2"},
            "can't share",
            "",
        ),
        ({"measured": "/none.json"}, "can't read /none.json", ""),
        ({"plot": "x.png"}, "written as .svg", ""),
    ],
)
def test_invalid_flags_are_refused_before_any_output(
    changes: dict[str, Any], message: str, advice: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(DeeprigError) as raised:
        advise(**changes)
    assert message in raised.value.message
    assert advice in raised.value.advice
    assert capsys.readouterr().out == ""


def test_missing_host_and_gpus_is_an_error() -> None:
    with pytest.raises(DeeprigError, match="no host is named"):
        advise(gpus="")


def test_missing_numbers_of_a_model_are_derived() -> None:
    model = command.model_of_sizes({"layers": 4, "hidden": 1024, "experts": 8})
    assert (model.heads, model.kv_heads, model.top_k) == (8, 8, 2)
    assert model.feed_forward == 2730


def test_explain_flag_adds_sources(capsys: pytest.CaptureFixture[str]) -> None:
    assert advise()
    shown = capsys.readouterr().out
    assert advise(explain=True)
    explained = capsys.readouterr().out
    assert explained.startswith(shown)
    assert "arXiv 2006.15704" in explained
    assert "arXiv 2006.15704" not in shown


@pytest.fixture
def two_rigs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Flags:
    """An inventory of two, of which one can't be reached."""

    def read(host: Host, *_: object) -> Machine:
        if host.name == "gone":
            raise UnreachableError("is not an answer")
        return rigs.seed()

    monkeypatch.setattr(rig_measurements, "read", read)
    file = tmp_path / "rigs.yml"
    file.write_text("rigs: {hosts: {gone: {}, here: {}}}\n")
    return Flags(H="rigs", inventory=str(file), json=True)


def test_unreadable_rig_does_not_hide_the_others(
    two_rigs: Flags, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not advise(two_rigs, gpus="")
    out, err = capsys.readouterr()
    assert list(json.loads(out)) == ["here"]
    assert "is not an answer" in err
    assert "host: gone" in err


def test_links_flag_overrides_the_links_of_a_rig(
    two_rigs: Flags, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    advise(two_rigs, gpus="", links="3x gen3x4", plot=str(tmp_path / "lanes.svg"))
    document = json.loads(capsys.readouterr().out)["here"]
    assert [link["width"] for link in document["rig"]["links"]] == [4, 4, 4]
    assert (tmp_path / "lanes-here.svg").exists()


def test_invalid_measured_file_is_an_error_of_the_rig(
    two_rigs: Flags, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "bench.json"
    file.write_text('{"format": "deeprig-bench", "version": 9}')
    assert not advise(two_rigs, gpus="", measured=str(file))
    assert "has version 9" in capsys.readouterr().err


def test_default_heads_divide_the_hidden_size() -> None:
    model = command.model_of_sizes({"layers": 2, "hidden": 2000})
    assert model.hidden % model.heads == 0
    assert model.head >= 128

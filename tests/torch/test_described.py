"""docs/bench.md describes every part and field."""

from __future__ import annotations

import json
import re

import pytest
import torch

from agent.bench import document, plan, transport_trials
from agent.bench.__main__ import parse_arguments
from agent.bench.collectives import COLLECTIVES
from agent.bench.workloads.comparison import TOLERANCE
from agent.bench.workloads.shape import ModelShape
from agent.bench.workloads.sleeping_layers import parse_pace
from tests.torch.launch import ROOT

TEXT = (ROOT / "docs/bench.md").read_text()
ROWS = re.findall(r"^\| (.*?) \|", TEXT, re.MULTILINE)


def test_document_lists_the_parts_in_order() -> None:
    section = TEXT[TEXT.index("## Parts") : TEXT.index("## Flags")]
    listed = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
    assert listed == list(plan.PARTS)


def test_document_lists_the_collectives() -> None:
    (row,) = re.findall(r"^\| `collectives` \| (all_reduce.*?) \|", TEXT, re.MULTILINE)
    assert row.split(", ") == list(COLLECTIVES)


def test_document_lists_every_flag(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_arguments(["--help"])
    shown = set(re.findall(r"--[a-z-]+", capsys.readouterr().out)) - {"--help"}
    flags = TEXT[TEXT.index("## Flags") : TEXT.index("### Several")]
    assert set(re.findall(r"`(--[a-z-]+)", flags)) == shown


def test_document_lists_every_exit_status() -> None:
    order = ", ".join(str(status) for status in document.STATUSES.values())
    assert f"in the order {order}." in TEXT
    assert {"0", *map(str, document.STATUSES.values())} <= set(ROWS)


def test_document_lists_every_transport_trial() -> None:
    table = json.loads(transport_trials.TABLE.read_text())
    for row in table:
        assert f"`{row['hazard']}`" in ROWS


def test_document_lists_every_field() -> None:
    made = document.create_document(plan="", backend="", ranks=0, nodes=0, hostname="", now=0.0)
    named = set(re.findall(r"`(\w+)`", " ".join(ROWS)))
    assert set(made) - {"format", "version"} <= named
    assert f'"format": "{document.FORMAT}"' in TEXT
    assert f'"version": {document.FORMAT_VERSION}' in TEXT


def test_example_job_is_valid() -> None:
    (text,) = re.findall(r"^```json\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    (part,) = json.loads(text)["parts"]
    ModelShape.parse(part["shape"])
    assert parse_pace(part["compute"]) is not None


def test_document_explains_every_number_of_a_shape() -> None:
    section = TEXT[TEXT.index("A shape's numbers mean") :]
    assert set(ModelShape().as_mapping()) <= set(re.findall(r"`(\w+)`", section))


def test_document_states_the_tolerances() -> None:
    stated = re.search(r"explains (\S+) in float32 and (\S+) in bfloat16", TEXT)
    assert stated
    assert [float(text) for text in stated.groups()] == [
        TOLERANCE[torch.float32],
        TOLERANCE[torch.bfloat16],
    ]

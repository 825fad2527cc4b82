"""`fab facts`: one document on standard output, no secrets in it, errors beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import cast

import pytest
from invoke.exceptions import Exit

from provision.boundary.messages import BatchNews, UnitResult, WorkUnit
from provision.cli.executor import fail
from provision.cli.flags import Flags
from provision.discovery.gather import read_facts
from provision.errors import DeeprigError, UnreachableError
from provision.facts import command
from provision.inventory.hosts import Host
from provision.ssh.rig_sessions import Sessions
from tests.unit.cli.fleet import fleet
from tests.unit.facts.gathering import gather_facts


def test_only_json_is_on_standard_output(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def gather(host: Host, *_: object) -> dict[str, object]:
        if host.name == "gone":
            raise UnreachableError("no answer")
        if host.name == "broken":
            raise ZeroDivisionError
        return {"ansible_env": {"RIG_PASSWD": "x1"}, "message": "it is hunter22"}

    monkeypatch.setattr(command, "gather_facts", gather)
    hosts = [Host(n, {"ansible_password": "hunter22"}, ()) for n in ("gone", "here", "broken")]
    with pytest.raises(Exit) as ended:
        command.show_facts(fleet(hosts), Flags(json=True))
    assert ended.value.code == 4
    out, err = capsys.readouterr()
    assert json.loads(out) == {
        "here": {"ansible_env": {"RIG_PASSWD": "********"}, "message": "it is ********"}
    }
    assert "no answer" in err
    assert "ZeroDivisionError" in err


def test_an_error_shows_no_password(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Exit):
        fail(UnreachableError("wrong", advice="ansible_password: hunter22 is a duplicate"))
    assert "hunter22" not in capsys.readouterr().err


class Answers:
    """Sessions of a rig with one answer."""

    def __init__(self, result: dict[str, object]) -> None:
        self.result, self.units = result, list[WorkUnit]()

    def get(self, user: str) -> Answers:
        assert user == "root"
        return self

    def run(self, units: list[WorkUnit], on_progress: object) -> Iterator[BatchNews]:
        self.units += units
        yield BatchNews([], None, is_done=False)  # a sign of life
        yield BatchNews([UnitResult((1, 0), self.result, 0.1)], None, is_done=True)


def test_facts_are_read_over_open_sessions() -> None:
    facts = gather_facts()
    rig = Answers({"ansible_facts": facts})
    assert read_facts(cast(Sessions, rig)) == facts
    assert [unit["module"] for unit in rig.units] == ["setup"]


def test_facts_that_cannot_be_read_are_an_error() -> None:
    with pytest.raises(DeeprigError, match="no Python"):
        read_facts(cast(Sessions, Answers({"failed": True, "msg": "no Python"})))

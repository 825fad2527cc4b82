"""How -H, -e and --inventory select the fleet."""

from __future__ import annotations

from pathlib import Path

import pytest
from fabric import Config

from provision.cli.flags import Flags
from provision.cli.fleet import FleetContext
from provision.errors import PatternError


def context(*patterns: str) -> FleetContext:
    made = FleetContext(Config())
    object.__setattr__(made, "patterns", patterns)
    return made


@pytest.fixture
def inventory(tmp_path: Path) -> str:
    file = tmp_path / "rigs.yml"
    file.write_text("rigs: {hosts: {rig: {ansible_user: user, ansible_port: 22}, rig2: {}}}\n")
    return str(file)


def test_hosts_may_precede_or_follow_the_verb(inventory: str) -> None:
    for before, after in ((("rig", "rig2"), ""), ((), "rig,rig2"), (("rig",), "rig2")):
        _, hosts = context(*before).fleet(Flags(H=after, inventory=inventory))
        assert [host.name for host in hosts] == ["rig", "rig2"]


def test_extra_variables_set_connection_variables(inventory: str) -> None:
    _, (host,) = context("rig").fleet(Flags(e=("ansible_user=root",), inventory=inventory))
    assert host.variables == {"ansible_user": "root", "ansible_port": 22}


def test_missing_host_error_lists_the_hosts(inventory: str) -> None:
    with pytest.raises(PatternError) as caught:
        context().fleet(Flags(inventory=inventory))
    assert "rig, rig2" in caught.value.advice


def test_environment_variable_selects_the_inventory(
    inventory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEEPRIG_INVENTORY", inventory)
    _, hosts = context("rigs").fleet(Flags())
    assert len(hosts) == 2

"""Hosts, groups and variables, as Ansible reads them."""

from __future__ import annotations

from pathlib import Path

import pytest

from provision.engine import playbook, runner
from provision.engine.variables import HostVariables
from provision.errors import DeeprigError, PatternError, SourceError
from provision.inventory import hosts
from provision.inventory.hosts import Inventory
from provision.inventory.yaml_source import YamlText

RIGS = """
rigs:
  vars: {from: group in file, level: group}
  hosts:
    rig: {ansible_host: 10.0.0.1, level: host}
    rig2:
    shelf[1:3]:
  children:
    attic:
      hosts: {hot: {}}
      vars: {level: child}
other:
  hosts: {elsewhere: {}}
"""


@pytest.fixture
def inventory(tmp_path: Path) -> Inventory:
    (tmp_path / "rigs.yml").write_text(RIGS)
    for folder in ("group_vars", "host_vars"):
        (tmp_path / folder).mkdir()
    (tmp_path / "group_vars" / "all.yml").write_text("from: group_vars/all\nonly_all: 1\n")
    (tmp_path / "group_vars" / "rigs.yml").write_text("from: group_vars/rigs\n")
    (tmp_path / "host_vars" / "rig2.yml").write_text("from: host_vars\n")
    return hosts.read_inventory(tmp_path)


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        (["rig"], ["rig"]),
        (["rig,rig2"], ["rig", "rig2"]),
        (["rig", "rig2"], ["rig", "rig2"]),
        (["attic"], ["hot"]),
        (["rigs"], ["rig", "rig2", "shelf1", "shelf2", "shelf3", "hot"]),
        (["shelf*"], ["shelf1", "shelf2", "shelf3"]),
        (["rigs:!attic:!shelf*"], ["rig", "rig2"]),
        (["rigs:&attic"], ["hot"]),
        (["all", "!rigs"], ["elsewhere"]),
    ],
)
def test_patterns_select_hosts(inventory: Inventory, patterns: list[str], names: list[str]) -> None:
    assert [host.name for host in inventory.select(patterns)] == names


@pytest.mark.parametrize(
    ("name", "variables"),
    [
        ("192.168.1.50", {"ansible_host": "192.168.1.50", "only_all": 1}),
        ("me@rig.local:2222", {"ansible_user": "me", "ansible_port": 2222}),
        ("me@attic-box", {"ansible_user": "me", "ansible_host": "attic-box"}),
        ("fd00::5", {"ansible_host": "fd00::5"}),
    ],
)
def test_address_without_an_entry_is_a_host(
    inventory: Inventory, name: str, variables: dict[str, object]
) -> None:
    (host,) = inventory.select([name])
    assert variables.items() <= host.variables.items()


@pytest.mark.parametrize(
    ("pattern", "message", "advice"),
    [
        ("rg2", "unknown host 'rg2'; did you mean 'rig2'?", "The inventory knows: rig, rig2"),
        ("rig:!rig", "no host matches", ""),
    ],
)
def test_unknown_name_is_an_error_with_suggestions(
    inventory: Inventory, pattern: str, message: str, advice: str
) -> None:
    with pytest.raises(PatternError) as caught:
        inventory.select([pattern])
    assert message in caught.value.message
    assert advice in caught.value.advice


@pytest.mark.parametrize(
    ("host", "origin", "level"),
    [
        ("rig", "group_vars/rigs", "host"),
        ("rig2", "host_vars", "group"),
        ("hot", "group_vars/rigs", "child"),
        ("elsewhere", "group_vars/all", None),
    ],
)
def test_host_variables_override_group_variables(
    inventory: Inventory, host: str, origin: str, level: str | None
) -> None:
    variables = inventory.host(host).variables
    assert (variables["from"], variables.get("level")) == (origin, level)


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("rigs:\n  host: {rig: {}}\n", "2:3", "no 'host'; did you mean 'hosts'?"),
        ("rigs:\n  hosts: [rig]\n", "2:3", "'hosts' of group 'rigs' must be a mapping"),
        ("rigs:\n  hosts:\n    rig: 10.0.0.1\n", "3:5", "must hold a mapping of variables"),
        ("rigs:\n  children:\n    rigs: {}\n", "3:5", "its own descendant"),
        ("rigs:\n  hosts:\n    rig: {}\n    rig: {}\n", "4:5", "duplicate key 'rig'"),
    ],
)
def test_invalid_inventory_is_an_error_with_its_position(
    tmp_path: Path, text: str, place: str, message: str
) -> None:
    (tmp_path / "rigs.yml").write_text(text)
    with pytest.raises(SourceError) as caught:
        hosts.read_inventory(tmp_path)
    assert message in caught.value.message
    assert str(caught.value.position).endswith(f"rigs.yml:{place}")


def test_missing_inventory_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DeeprigError, match=r"the inventory .* does not exist"):
        hosts.read_inventory(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("rig:hot", ["rig", "hot"]),
        ("rigs:!attic:!shelf*", ["rig", "rig2"]),
        ("rigs:&attic", ["hot"]),
        ("rig,user@10.0.0.9:2222", ["rig", "user@10.0.0.9:2222"]),
        ("fe80::1", ["fe80::1"]),
        ("[fe80::1]", ["[fe80::1]"]),
    ],
)
def test_colons_separate_patterns_except_in_addresses(
    inventory: Inventory, pattern: str, names: list[str]
) -> None:
    assert [host.name for host in inventory.select([pattern])] == names


def test_play_for_an_unnamed_host_is_an_error(inventory: Inventory, tmp_path: Path) -> None:
    path = tmp_path / "play.yml"
    path.write_text("- {hosts: localhost, tasks: []}\n")
    with pytest.raises(SourceError, match="'localhost' is neither in the inventory nor named"):
        runner._plays_of(inventory.host("rig"), playbook.load(path), inventory, ["rig"])


def test_inventory_elsewhere_has_the_default_settings(tmp_path: Path) -> None:
    (tmp_path / "own.yml").write_text("rigs: {hosts: {a: {swap_file: /swap}}}")
    inventory = hosts.read_inventory(tmp_path / "own.yml")
    templar = HostVariables(inventory.host("a"), inventory, {}, check=False, diff=False).templar()
    given = YamlText.given
    assert templar.render(given("{{ preflight_root_disk_gb }}")) == 40
    assert templar.render(given("{{ swap_file }}")) == "/swap"

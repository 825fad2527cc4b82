"""An entry is added to a hand-written file, and every other byte stays."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from provision.adopt import inventory_entry
from provision.errors import SourceError

PATH = Path("rigs.yml")
VALUES = {"ansible_host": "192.168.1.50", "mac_addresses": {"eth0": "70:85:c2:5a:11:0e"}}
BLOCK = """\
{0}# Adopted.
{0}attic:
{0}  ansible_host: 192.168.1.50
{0}  mac_addresses:
{0}    eth0: 70:85:c2:5a:11:0e
"""


def add_entry(text: str) -> str:
    return inventory_entry.add_host(text, "attic", VALUES, "Adopted.", PATH)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", ""),
        ("rigs:\n  hosts:\n    a:\n", ""),
        ("rigs:\n  hosts:\n    a: {x: 1}   # one\n\n\n# end\n", "\n\n# end\n"),
        (
            "rigs:\n    hosts:\n        a:\n            x: 1\n    vars: {y: 2}\n",
            "    vars: {y: 2}\n",
        ),
        (
            "rigs:\n  hosts:\n    a:\n      x: |\n        # not a comment\n        text\nb:\n",
            "b:\n",
        ),
        (
            "# My own.\nrigs:\n  hosts:   # mine\n    a:\n      x: 'quoted'\n  # why\n"
            "  children:\n    b:\n",
            "  # why\n  children:\n    b:\n",
        ),
        ("rigs:\n  hosts:\n    a:\n      x: 1", ""),
        ("rigs:\n  hosts:\n    a:\n      x: 1\n      # of a\n\n    # b:\n  # end\n", "  # end\n"),
    ],
)
def test_entry_is_added_last_and_the_rest_is_unchanged(before: str, after: str) -> None:
    text = add_entry(before)
    block = BLOCK.format("        " if "    hosts" in before else "    ")
    head = before.removesuffix(after) or inventory_entry.EMPTY
    assert text == (head if head.endswith("\n") else f"{head}\n") + block + after
    document = yaml.safe_load(text)
    assert document["rigs"]["hosts"]["attic"] == VALUES


def test_line_endings_of_the_file_are_kept() -> None:
    text = add_entry("rigs:\r\n  hosts:\r\n    a:\r\n      x: 1\r\n")
    assert text.count("\r\n") == text.count("\n") == 9
    text = inventory_entry.change_host(
        text, "attic", {"ansible_host": "10.0.0.1", "new": "1"}, PATH
    )
    assert text.count("\r\n") == text.count("\n") == 10
    assert yaml.safe_load(text)["rigs"]["hosts"]["attic"]["ansible_host"] == "10.0.0.1"


@pytest.mark.parametrize(
    "before",
    [
        "rigs:\n  hosts: {}\n",
        "rigs:\n  hosts: {}   # none yet\nb:\n",
        "rigs:\n  hosts:   # none yet\nb:\n",
        "---\n# only comments\n",
        "other:\n  hosts:\n    a:\n",
        "rigs:\n  hosts: {}\n  vars:\n    x: 1\n",
    ],
)
def test_first_rig_of_a_file_is_added(before: str) -> None:
    text = add_entry(before)
    was = yaml.safe_load(before) or {}
    now = yaml.safe_load(text)
    assert now["rigs"]["hosts"] == {"attic": VALUES}
    assert {k: v for k, v in now.items() if k != "rigs"} == {
        k: v for k, v in was.items() if k != "rigs"
    }
    assert (now["rigs"].get("vars")) == (was.get("rigs") or {}).get("vars")
    for line in before.splitlines():
        assert line.replace(" {}", "").rstrip() in [
            written.rstrip() for written in text.splitlines()
        ]


@pytest.mark.parametrize(
    ("before", "reported"),
    [
        ("rigs:\n  hosts: {a: {x: 1}}\n", "safely"),
        ("rigs:\n  hosts: [a]\n", "safely"),
        ("rigs:\n", "is empty"),
        ("rigs:\n  vars: {}\n", "no hosts"),
        ("- a\n", "expected a mapping"),
        ("rigs: [\n", "not valid YAML"),
    ],
)
def test_unsafe_addition_is_refused(before: str, reported: str) -> None:
    with pytest.raises(SourceError, match=reported):
        add_entry(before)


ENTRY = """\
rigs:
  hosts:
    a:
      # by DHCP
      ansible_host: 10.0.0.4   # for now
      ansible_password: "1"
      x: 1
    b: {ansible_host: 10.0.0.5}
"""


def test_variables_are_changed_in_place() -> None:
    changes = {"ansible_host": "10.0.0.9", "ansible_password": None, "key": "~/.ssh/id"}
    text = inventory_entry.change_host(ENTRY, "a", changes, PATH)
    assert text == ENTRY.replace("10.0.0.4", "10.0.0.9").replace(
        '      ansible_password: "1"\n', ""
    ).replace("      ansible_host: 10.0.0.9", "      key: ~/.ssh/id\n      ansible_host: 10.0.0.9")
    assert inventory_entry.change_host(text, "a", {"ansible_become_password": None}, PATH) == text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("b", ENTRY),
        ("c", ENTRY),
        ("a", ENTRY.replace("10.0.0.4   # for now", "|-\n        10.0.0.4")),
        ("a", "rigs:\n  hosts:\n    a:\n"),
    ],
)
def test_unsafe_change_is_refused(name: str, text: str) -> None:
    with pytest.raises(SourceError, match="safely"):
        inventory_entry.change_host(text, name, {"ansible_host": "10.0.0.9"}, PATH)

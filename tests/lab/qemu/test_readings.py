"""The PCIe readings on a real kernel match QEMU's options (machine.yml)."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.lab.qemu.conftest import OPTIONS, Tree

pytestmark = pytest.mark.extended  # a machine boots in QEMU

GPUS: list[dict[str, Any]] = OPTIONS["gpus"]
NAMES = [gpu["name"] for gpu in GPUS]


def describe_port(port: dict[str, Any]) -> list[Any]:
    """A device on a path, as machine.yml writes it."""
    link = port["link"]
    return [
        port["kind"],
        link["current_width"],
        link["max_width"],
        link["current_speed_gts"],
        link["max_speed_gts"],
    ]


def test_every_display_is_listed_once(tree: Tree) -> None:
    assert [gpu["root_port"] for gpu in tree.gpus] == [display["port"] for display in GPUS]
    assert all(gpu["answers"] and gpu["device_id"] == "2204" for gpu in tree.gpus)


@pytest.mark.parametrize("name", NAMES)
def test_path_matches_the_qemu_options(name: str, tree: Tree) -> None:
    display, gpu = GPUS[NAMES.index(name)], tree.gpus[NAMES.index(name)]
    assert [describe_port(port) for port in gpu["path"]] == display["path"]
    assert gpu["path_width"] == display["width"]
    speeds = [port[3] for port in display["path"] if port[3] is not None]
    assert gpu["path_speed_gts"] == min(speeds)
    widths = [port[2] for port in display["path"] if port[2] is not None]
    assert gpu["path_max_width"] == min(widths)


def count_errors(gpus: list[dict[str, Any]]) -> dict[tuple[str, str, str], int]:
    """All counters by address, severity and name."""
    return {
        (port["address"], severity, name): count
        for gpu in gpus
        for port in gpu["path"]
        for severity, counters in (port["aer"] or {}).items()
        for name, count in counters.items()
    }


def test_error_counters_start_at_zero(tree: Tree) -> None:
    counts = count_errors(tree.gpus)
    assert counts, "this kernel counts no errors"
    assert set(counts.values()) == {0}


@pytest.mark.parametrize(
    "error", OPTIONS["errors"], ids=lambda error: f"{error['gpu']}-{error['counter']}"
)
def test_error_is_counted_at_the_device_that_reported_it(error: dict[str, Any], tree: Tree) -> None:
    """The counter of this name and the total of the device grow by one, and no other counter."""
    address = tree.gpus[NAMES.index(error["gpu"])]["path"][error["at"]]["address"]
    before = count_errors(tree.read_again())
    if "kind" in error:
        tree.machine.inject_status(address, error["kind"], error["bit"])
    else:
        tree.machine.inject(error["device"], error["error"])
    wanted = {(address, error["severity"], error["counter"])}
    deadline = time.monotonic() + 60
    more: dict[tuple[str, str, str], int] = {}
    while time.monotonic() < deadline and not wanted <= set(more):
        now = count_errors(tree.read_again())
        more = {key: now[key] - before[key] for key in before if now.get(key) != before[key]}
    names = {key for key in more if not key[2].startswith("TOTAL")}
    assert names == wanted
    assert set(more.values()) == {1}
    assert any(key[2].startswith("TOTAL") for key in more)

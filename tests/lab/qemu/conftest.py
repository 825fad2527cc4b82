"""One QEMU machine for all tests here. Without QEMU they are skipped; in CI they fail."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.qemu import image
from lab.qemu.machine import QemuMachine

HERE = Path(__file__).parent
OPTIONS: dict[str, Any] = yaml.safe_load((HERE / "machine.yml").read_text())
#: What an emulated display is made to look like: an RTX 3090.
CARD = {"vendor": "0x10de", "device": "0x2204", "class": "0x030000"}
READ = """
import dataclasses, json
from agent.readings import pcie
print(json.dumps([dataclasses.asdict(gpu) | {
    "root_port": gpu.root_port, "path_width": gpu.path_width, "answers": gpu.answers,
    "path_speed_gts": gpu.path_speed_gts, "path_max_width": gpu.path_max_width,
} for gpu in pcie.read_gpus(aer=True)]))
"""


@dataclasses.dataclass(frozen=True)
class Tree:
    """The machine, and its GPUs as read before any error was injected."""

    machine: QemuMachine
    gpus: list[dict[str, Any]]

    def read_again(self) -> list[dict[str, Any]]:
        """Read the GPUs now."""
        gpus: list[dict[str, Any]] = self.machine.python(READ)
        return gpus


def _displays(machine: QemuMachine) -> list[str]:
    """List the addresses of all devices behind ports, in order."""
    script = "cd /sys/bus/pci/devices; grep -L '^0x06' 0000:0[1-9a-f]:*/class"
    return sorted(line.split("/")[0] for line in machine.shell(script).splitlines())


def make_cards(machine: QemuMachine) -> None:
    """Make every display look like an NVIDIA card."""
    for address in _displays(machine):
        machine.disguise(address, CARD)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without QEMU, skip all tests here with one line; in CI they fail."""
    here = [item for item in items if item.path.is_relative_to(HERE)]
    problem = image.unusable() if here else None
    if problem is None or os.environ.get("CI") == "true":
        return
    reason = " ".join(str(problem).split())
    here[0].add_marker(pytest.mark.skip(reason=f"all {len(here)} tests on a real kernel: {reason}"))
    config.hook.pytest_deselected(items=here[1:])
    items[:] = [item for item in items if item not in here[1:]]


@pytest.fixture(scope="package")
def tree() -> Iterator[Tree]:
    """The machine, booted once."""
    if problem := image.unusable():
        pytest.fail(f"The PCIe tests must run in CI: {problem}", pytrace=False)
    with QemuMachine(OPTIONS["devices"]) as machine:
        make_cards(machine)
        yield Tree(machine, machine.python(READ))

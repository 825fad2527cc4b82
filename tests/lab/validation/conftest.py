"""A provisioned rig, and the reports of `fab validate` about it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab.build.image import RigImage
from lab.rigs.machine import Rig
from tests.lab.operator import FabResult, fab, switching, write_variant

NAME = "test4"
SECOND = "test15"  # another rig, for tests of two
STEPS = "demine,base,driver,reboot,pytorch,power,agent,validation"  # the steps that it needs
PROFILE = "x4x4x4x4"  # of a board that splits its slot, so that no link is too narrow


@dataclass(frozen=True)
class Proof:
    """Result and report of a validation."""

    result: FabResult
    folder: Path

    @property
    def report(self) -> dict[str, Any]:
        report: dict[str, Any] = json.loads((self.folder / "report.json").read_text())
        return report

    def check(self, name: str) -> dict[str, Any]:
        """A check of the report, by its name."""
        (check,) = [check for check in self.report["checks"] if check["check"] == name]
        return dict(check)

    def text(self, name: str) -> str:
        """The check as JSON."""
        return json.dumps(self.check(name))


@dataclass(frozen=True)
class Proven:
    """The rig, its inventory, and a folder for reports."""

    rig: Rig
    inventory: Path
    folder: Path

    def validate(self, *words: str, seconds: float = 240, **variables: Any) -> Proof:
        """Run `fab validate` as the operator would; variables change the rig's in the inventory."""
        inventory = self.inventory
        if variables:
            inventory = write_variant(inventory, self.rig.name, "changed", **variables)
        folder = self.folder / str(len(list(self.folder.iterdir())))
        folder.mkdir()
        result = fab(
            inventory, self.rig.name, "validate", "--report", folder, *words, seconds=seconds
        )
        return Proof(result, folder / self.rig.name)

    def leftovers(self) -> list[str]:
        """Processes of benchmarks that still run in the rig, and their unit."""
        processes = self.rig.run(
            "pgrep -af 'agent[.]bench|[t]orchrun|torch[.]distributed' || true;"
            " systemctl list-units --all --plain --no-legend 'deeprig-bench*'"
        ).stdout
        return [line for line in processes.splitlines() if line.strip()]


@pytest.fixture(scope="package")
def proven(
    make_rig: Callable[..., Rig],
    provisioned_image: RigImage,
    write_inventory: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Proven]:
    """A rig that was provisioned whole, with its slot split as the inventory expects it."""
    rig = make_rig(NAME, built=provisioned_image)
    rig.down()
    rig.set(profile=PROFILE)
    rig.up()
    inventory = write_variant(write_inventory(rig), NAME, "own", agent_sample_interval="1s")
    result = fab(inventory, NAME, "provision", seconds=400)
    assert result.status == 0, result.text
    yield Proven(rig, inventory, tmp_path_factory.mktemp("reports"))
    rig.discard()


@pytest.fixture(scope="package")
def pair(
    proven: Proven,
    make_rig: Callable[..., Rig],
    provisioned_image: RigImage,
    write_inventory: Callable[..., Path],
) -> Iterator[Path]:
    """The inventory of two rigs that can run one distributed job."""
    rig = make_rig(SECOND, built=provisioned_image)
    inventory = write_inventory(proven.rig, rig)
    result = fab(inventory, SECOND, "provision", "--tags", STEPS, seconds=400)
    assert result.status == 0, result.text
    yield inventory
    rig.discard()


@pytest.fixture
def fault(proven: Proven) -> Iterator[Callable[..., None]]:
    """Switch faults on that are off again after the test."""
    with switching(proven.rig) as switch:
        yield switch

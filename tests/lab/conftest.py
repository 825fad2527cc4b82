"""Rigs for tests. They are the lab's own (test, test2, …), beside those of the operator."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab import host, image, machine
from lab import inventory as lab_inventory
from lab.fleet import write_known_hosts
from lab.machine import Rig

MakeRig = Callable[..., Rig]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where no lab can run, skip all its tests with one line that says why; in CI they fail."""
    problem = host.unusable()
    here = [item for item in items if item.path.is_relative_to(Path(__file__).parent)]
    if problem is None or not here or os.environ.get("CI") == "true":
        return
    reason = " ".join(str(problem).split())
    here[0].add_marker(pytest.mark.skip(reason=f"all {len(here)} lab tests: {reason}"))
    config.hook.pytest_deselected(items=here[1:])
    items[:] = [item for item in items if item not in here[1:]]


@pytest.fixture(scope="session")
def lab_image() -> image.Image:
    """The image of the rigs; a machine that can't run the lab fails here."""
    if problem := host.unusable():
        pytest.fail(f"The lab must run in CI: {problem}", pytrace=False)
    return image.ensure()


@pytest.fixture(scope="session")
def make_rig(lab_image: image.Image) -> Iterator[MakeRig]:
    """Boot a rig by its name (test, test2, …), as on the day it was bought, even if it was used.

    >>> rig = make_rig("test2", flavour="msos")                     # doctest: +SKIP
    """
    made: dict[str, Rig] = {}

    def make(name: str, flavour: str = lab_image.flavour) -> Rig:
        made[name] = rig = Rig(name)
        built = lab_image if flavour == lab_image.flavour else image.ensure(flavour)
        rig.up(fresh=True, image=built)
        return rig

    yield make
    for rig in made.values():
        rig.discard()
    machine.clear()


@pytest.fixture(scope="session")
def rig(make_rig: MakeRig) -> Rig:
    """One rig for a whole session; who changes it for good asks make_rig for another one."""
    return make_rig("test")


@pytest.fixture(scope="session")
def write_inventory(
    lab_image: image.Image, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Path]:
    """Write an inventory of these rigs, as `fab lab.up` does; return its path."""

    def write(*rigs: Rig) -> Path:
        names = "-".join(rig.name for rig in rigs)
        known_hosts = write_known_hosts(list(rigs), f"known_hosts-{names}")
        file = tmp_path_factory.mktemp("inventory") / "lab.yml"
        # The settings' defaults, as beside the operator's own inventory.
        (file.parent / "group_vars").symlink_to(lab_inventory.FILE.parent / "group_vars")
        lab_inventory.write(rigs, lab_image.fingerprint, known_hosts, file)
        return file

    return write


@pytest.fixture(scope="module")
def target(request: pytest.FixtureRequest, make_rig: MakeRig) -> Rig:
    """A rig of a test file's own, as it was bought; the file says its name: NAME."""
    return make_rig(request.module.NAME)


@pytest.fixture(scope="module")
def inventory(target: Rig, write_inventory: Callable[..., Path]) -> Path:
    """The inventory of that rig."""
    return write_inventory(target)

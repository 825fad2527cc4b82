"""Rigs for tests: test, test2, … in a network of this process, beside those of the operator."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.build import host, image
from lab.build.image import RigImage
from lab.rigs import inventory as lab_inventory
from lab.rigs.fleet import write_known_hosts
from lab.rigs.lease import lease_network
from lab.rigs.machine import Rig
from tests.lab.mining.pool import Pool
from tests.lab.operator import switching
from tests.lab.provisioned import ensure_provisioned

MakeRig = Callable[..., Rig]
POOL = pytest.StashKey[Pool]()


def pytest_sessionstart(session: pytest.Session) -> None:
    """Open the pool that miners connect to: one for all workers, since its address is fixed."""
    if not hasattr(session.config, "workerinput"):
        session.config.stash[POOL] = Pool()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Close the pool."""
    if pool := session.config.stash.get(POOL, None):
        pool.close()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where the lab cannot run, skip its tests with one line and the reason; in CI they fail."""
    problem = host.unusable()
    here = [item for item in items if item.path.is_relative_to(Path(__file__).parent)]
    if problem is None or not here or os.environ.get("CI") == "true":
        return
    reason = " ".join(str(problem).split())
    here[0].add_marker(pytest.mark.skip(reason=f"all {len(here)} lab tests: {reason}"))
    config.hook.pytest_deselected(items=here[1:])
    items[:] = [item for item in items if item not in here[1:]]


@pytest.fixture(scope="session")
def lab_image() -> RigImage:
    """The rigs' image. Fails on a machine that cannot run the lab."""
    if problem := host.unusable():
        pytest.fail(f"The lab must run in CI: {problem}", pytrace=False)
    return image.ensure()


@pytest.fixture(scope="session")
def own_network() -> Iterator[None]:
    """A network of this process; its rigs are removed at the end."""
    with lease_network():
        yield


@pytest.fixture(scope="session")
def make_rig(own_network: None, lab_image: RigImage) -> MakeRig:
    """Boot a rig by its name (test, test2, …), as on the day it was bought, even if it was used.

    For example: rig = make_rig("test2", flavour="msos").
    """

    def boot(name: str, flavour: str = lab_image.flavour, built: RigImage | None = None) -> Rig:
        rig = Rig(name)
        if built is None:
            built = lab_image if flavour == lab_image.flavour else image.ensure(flavour)
        rig.up(fresh=True, image=built)
        # sshd answers before the last unit has started, and units of a host set up its GPUs.
        rig.run("systemctl is-system-running --wait", check=False)
        return rig

    return boot


@pytest.fixture(scope="session")
def provisioned_image(
    own_network: None, lab_image: RigImage, write_inventory: Callable[..., Path]
) -> RigImage:
    """The image of a rig that `fab provision` has turned into a host."""
    return ensure_provisioned(lab_image, write_inventory)


@pytest.fixture(scope="session")
def rig(make_rig: MakeRig) -> Rig:
    """One rig for all tests that leave it unchanged; others call make_rig."""
    return make_rig("test40")


@pytest.fixture(scope="session")
def write_inventory(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Write an inventory of these rigs, as `fab lab.up` does; return its path."""

    def write(*rigs: Rig) -> Path:
        names = "-".join(rig.name for rig in rigs)
        known_hosts = write_known_hosts(list(rigs), f"known_hosts-{names}")
        file = tmp_path_factory.mktemp("inventory") / "lab.yml"
        # The defaults of settings, as beside the operator's inventory.
        (file.parent / "group_vars").symlink_to(lab_inventory.FILE.parent / "group_vars")
        lab_inventory.write(rigs, known_hosts, file)
        return file

    return write


@pytest.fixture(scope="module")
def target(request: pytest.FixtureRequest, make_rig: MakeRig) -> Iterator[Rig]:
    """A rig for one test file, as on the day it was bought; the file names it: NAME."""
    rig = make_rig(request.module.NAME)
    yield rig
    rig.discard()


@pytest.fixture(scope="module")
def inventory(target: Rig, write_inventory: Callable[..., Path]) -> Path:
    """The inventory of that rig."""
    return write_inventory(target)


@pytest.fixture
def fault(target: Rig) -> Iterator[Callable[..., None]]:
    """Switch faults of that rig on; they are off again after the test."""
    with switching(target) as switch:
        yield switch

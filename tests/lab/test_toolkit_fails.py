"""CUDA and NCCL that cannot be installed leave apt, holds and packages as they were."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lab.rigs.machine import Rig
from tests.lab.operator import STEPS, assert_apt_works, fab

pytestmark = pytest.mark.extended
NAME = "test93"
CUDA, NCCL = STEPS / "cuda.yml", STEPS / "nccl.yml"
STATE = (
    "cd /etc/apt; cat sources.list.d/* preferences.d/*; apt-mark showhold;"
    " dpkg-query -W -f '${Package} ${Version} ${db:Status-Status}\\n' | grep -v not-inst;"
    " ls /var/lib/deeprig"
)


@pytest.fixture(scope="module")
def target(make_rig: Callable[..., Rig]) -> Rig:
    return make_rig(NAME, flavour="clean")


@pytest.fixture(scope="module", autouse=True)
def driver(target: Rig, inventory: Path) -> None:
    result = fab(inventory, NAME, "provision", "--tags", "demine,base,driver", seconds=400)
    assert result.status == 0, result.text


def test_toolkit(target: Rig, inventory: Path, fault: Callable[..., None]) -> None:
    before = target.run(STATE).stdout
    fault("bad-postinst", "cuda-minimal-build-13-0")
    result = fab(inventory, NAME, "play", CUDA, seconds=400)
    assert result.status == 2
    result.assert_shows("The packages are not installed", "cuda-minimal-build-13-0")
    left = {*target.run(STATE).stdout.splitlines()} - {*before.splitlines()}
    assert not [line for line in left if "half" in line or "unpacked" in line or "before-" in line]
    assert_apt_works(target)


def test_toolkit_once_it_is_whole(target: Rig, inventory: Path) -> None:
    result = fab(inventory, NAME, "play", CUDA, seconds=400)
    assert result.status == 0, result.text
    fab(inventory, NAME, "play", CUDA).assert_shows("changed=0")
    assert "before-" not in target.run("ls /var/lib/deeprig").stdout


def test_another_nccl_leaves_the_one_that_was_here(
    target: Rig, inventory: Path, fault: Callable[..., None]
) -> None:
    older = "2.28.9-1+cuda13.0"
    result = fab(inventory, NAME, "play", NCCL, "-e", f"nccl_version={older}")
    assert result.status == 0, result.text
    before = target.run(STATE).stdout
    assert f"libnccl2 {older} installed" in before
    newer = "2.29.7-1+cuda13.2"
    fault("bad-postinst", f"libnccl-dev={newer}")
    result = fab(inventory, NAME, "play", NCCL, "-e", f"nccl_version={newer}")
    assert result.status == 2
    result.assert_shows("The packages are not installed", "libnccl-dev")
    assert target.run(STATE).stdout == before
    assert_apt_works(target)

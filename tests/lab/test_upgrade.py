"""`fab upgrade` in seven cases, each of which ends as it should: proven, or as before."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.build.image import RigImage
from lab.rigs.machine import Rig
from tests.lab.operator import (
    FabResult,
    fab,
    finish,
    start,
    switching,
    wait_until,
    write_variant,
)

pytestmark = pytest.mark.extended  # each case upgrades a host

NAME = "test93"
OLD, NEW = "580.95.05-1", "590.48.01-1"
#: What must be as before when an upgrade did not stay.
STATE = (
    "dpkg-query -W -f '${binary:Package} ${Version} ${db:Status-Abbrev}\\n' | sort;"
    " apt-mark showhold; cat /etc/apt/sources.list.d/* /etc/apt/preferences.d/*;"
    " modinfo -F version nvidia; find /opt/deeprig/venv -name '*.dist-info' | sort"
)
WORDS = ("--quick", "-e", '{"upgrade_minutes": 0.3, "reboot_timeout_seconds": 30}')


@pytest.fixture(scope="module")
def target(make_rig: Callable[..., Rig], provisioned_image: RigImage) -> Iterator[Rig]:
    """A provisioned rig, whose vendor has published newer drivers."""
    rig = make_rig(NAME, built=provisioned_image)
    yield rig
    rig.discard()


@pytest.fixture(scope="module")
def host(target: Rig, inventory: Path) -> Path:
    """The inventory of the rig, which is provisioned for its own address."""
    result = fab(inventory, NAME, "provision", seconds=400)
    assert result.status == 0, result.text
    return inventory


@pytest.fixture
def fault(target: Rig, host: Path) -> Iterator[Callable[..., None]]:
    """Faults that are off again after the test; the newer drivers are there."""
    with switching(target) as switch:
        switch("repo-new")
        yield switch


def upgrade(inventory: Path, folder: Path, *words: str) -> tuple[FabResult, dict[str, Any]]:
    result = fab(inventory, NAME, "upgrade", *WORDS, "--report", folder, *words, seconds=900)
    document: dict[str, Any] = json.loads((folder / NAME / "upgrade.json").read_text())
    return result, document


def assert_as_before(rig: Rig, before: str, document: dict[str, Any], folder: Path) -> None:
    log = rig.run("cat /var/lib/deeprig/upgrade/log", check=False).stdout
    assert document["ending"] == "went back", (document, log)
    assert rig.run(STATE).stdout == before
    assert document["still_worse"] == []
    assert rig.run("nvidia-smi -L").stdout.count("GPU ") == 3
    query = "nvidia-smi --query-gpu=driver_version --format=csv,noheader | uniq"
    assert rig.run(query).stdout.strip() == OLD.removesuffix("-1")
    assert rig.run("systemctl is-active deeprig-agent").stdout.strip() == "active"
    for name in ("before", "back"):
        report = json.loads((folder / name / NAME / "report.json").read_text())
        assert report["checks"]


def test_plan_is_shown_and_changes_nothing(
    target: Rig, host: Path, fault: Callable[..., None], tmp_path: Path
) -> None:
    before = target.run(STATE).stdout
    result = fab(host, NAME, "upgrade", "--check", "--driver", "590", "--report", tmp_path)
    assert result.status == 0, result.text
    result.assert_shows(f"{OLD} -> {NEW}", "planned")
    refused = fab(host, NAME, "upgrade", "--driver", "700")
    assert refused.status == 2
    refused.assert_shows("do not have driver branch 700", "590")
    assert target.run(STATE).stdout == before


def test_module_that_does_not_build(
    target: Rig, host: Path, fault: Callable[..., None], tmp_path: Path
) -> None:
    before = target.run(STATE).stdout
    fault("dkms-fails", "590.48.01")
    result, document = upgrade(host, tmp_path, "--driver", "590")
    assert result.status == 1, result.text
    assert "could not be built" in " ".join(document["reasons"])
    assert_as_before(target, before, document, tmp_path)


@pytest.mark.parametrize(
    ("effect", "sign"),
    [
        ("gpu", "GPU"),
        ("module", "535.1.1"),
        ("speed", "->"),
        ("network", "not confirmed in time"),
    ],
)
def test_driver_that_makes_the_rig_worse_goes_back(
    target: Rig,
    host: Path,
    fault: Callable[..., None],
    tmp_path: Path,
    effect: str,
    sign: str,
) -> None:
    before = target.run(STATE).stdout
    fault("driver-breaks", f"590 {effect}")
    result, document = upgrade(host, tmp_path, "--driver", "590")
    assert result.status == 1, result.text
    assert sign in " ".join([*document["worse"], *document["reasons"]])
    assert_as_before(target, before, document, tmp_path)


def test_power_cut_in_the_middle(
    target: Rig, host: Path, fault: Callable[..., None], tmp_path: Path
) -> None:
    before = target.run(STATE).stdout
    words = (*WORDS, "--driver", "590", "--report", str(tmp_path))
    run = start(host, NAME, "upgrade", *words)
    status = target.root / "var/lib/dpkg/status"
    wait_until(lambda: NEW in status.read_text(errors="replace"), seconds=300)
    target.run("reboot -ff", check=False)
    result = finish(run, seconds=900)
    document = json.loads((tmp_path / NAME / "upgrade.json").read_text())
    assert_as_before(target, before, document, tmp_path)
    assert result.status == 1, result.text


#: Make a wheel index with a later PyTorch: the rig's own under another version, or a broken one.
LATER_TORCH = r"""
import glob, pathlib, sys, zipfile

version, works = sys.argv[1], sys.argv[2] == "works"
(info,) = glob.glob("/opt/deeprig/venv/lib/python3*/site-packages/torch-*.dist-info")
site, name = pathlib.Path(info).parent, f"torch-{version}.dist-info"
index = pathlib.Path("/opt/index/torch")
index.mkdir(parents=True, exist_ok=True)
wheel = index / f"torch-{version}-py3-none-any.whl"
with zipfile.ZipFile(wheel, "w") as archive:
    if works:
        for row in pathlib.Path(info, "RECORD").read_text().splitlines():
            file = row.rsplit(",", 2)[0]
            if file == "torch/version.py":
                lines = (site / file).read_text().splitlines()
                kept = [line for line in lines if not line.startswith("__version__ =")]
                archive.writestr(file, "\n".join([*kept, f"__version__ = '{version}+cpu'", ""]))
            elif not file.startswith(("..", "torch-")) and (site / file).is_file():
                archive.write(site / file, file)
    else:
        archive.writestr("torch/__init__.py", "raise ImportError('libtorch_cpu.so: not found')")
    metadata = pathlib.Path(info, "METADATA").read_text()
    lines = [line for line in metadata.split("\n\n")[0].splitlines() if "Requires-Dist" not in line]
    lines = [f"Version: {version}" if line.startswith("Version:") else line for line in lines]
    archive.writestr(f"{name}/METADATA", "\n".join(lines) + "\n")
    archive.writestr(
        f"{name}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    archive.writestr(f"{name}/RECORD", "")
(index / "index.html").write_text(
    "".join(f'<a href="{file.name}">{file.name}</a>' for file in index.glob("*.whl"))
)
"""


@pytest.fixture
def torch_inventory(host: Path) -> Path:
    """The inventory that sets no PyTorch, whose index has what a test puts there."""
    return write_variant(
        host, NAME, "torch", torch_requirement=None, torch_index_url="file:///opt/index"
    )


def publish_torch(rig: Rig, version: str, state: str) -> None:
    rig.run(f"python3 - {version} {state} <<'END'\n{LATER_TORCH}\nEND")


def read_torch(rig: Rig) -> str:
    command = "/opt/deeprig/venv/bin/python -c 'import torch; print(torch.ones(2).sum().item())'"
    installed = rig.run("ls -d /opt/deeprig/venv/lib/python3*/site-packages/torch-*.dist-info")
    return f"{installed.stdout.split('/')[-1].strip()} {rig.run(command).stdout.strip()}"


def test_pytorch_that_does_not_exist_changes_nothing(
    target: Rig, torch_inventory: Path, tmp_path: Path
) -> None:
    before = target.run(STATE).stdout
    result, document = upgrade(torch_inventory, tmp_path, "--torch", "2.99.0")
    assert result.status != 0, result.text
    assert "2.99.0" in " ".join(document["reasons"])
    assert target.run(STATE).stdout == before


def test_pytorch_that_can_not_be_imported_goes_back(
    target: Rig, torch_inventory: Path, tmp_path: Path
) -> None:
    before, torch = target.run(STATE).stdout, read_torch(target)
    publish_torch(target, "2.13.2", "broken")
    result, document = upgrade(torch_inventory, tmp_path, "--torch", "2.13.2")
    assert result.status == 1, result.text
    assert_as_before(target, before, document, tmp_path)
    assert read_torch(target) == torch


def test_pytorch_alone_is_upgraded(target: Rig, torch_inventory: Path, tmp_path: Path) -> None:
    publish_torch(target, "2.13.1", "works")
    boots = target.state()["boots"]
    result, document = upgrade(torch_inventory, tmp_path, "--torch", "2.13.1")
    assert result.status == 0, result.text
    assert document["ending"] == "upgraded"
    assert read_torch(target) == "torch-2.13.1.dist-info 2.0"
    assert target.run("dpkg-query -W -f '${Version}' libcuda1").stdout == OLD
    assert target.state()["boots"] == boots
    result.assert_shows("torch_requirement: torch==2.13.1")


def test_upgrade_that_works_stays(
    target: Rig, host: Path, fault: Callable[..., None], tmp_path: Path
) -> None:
    result, document = upgrade(host, tmp_path, "--driver", "590")
    assert result.status == 0, result.text
    assert document["ending"] == "upgraded"
    assert target.run("dpkg-query -W -f '${Version}' libcuda1").stdout == NEW
    assert (tmp_path / "after" / NAME / "report.html").exists()
    boots = target.state()["boots"]
    target.run("systemctl reboot", check=False)
    target.wait(boots=boots + 1)
    timer = target.run("systemctl is-enabled deeprig-upgrade-guard.timer", check=False).stdout
    assert timer.strip() == "disabled"
    again, document = upgrade(host, tmp_path / "again")
    assert again.status == 0, again.text
    assert document["ending"] == "nothing to upgrade"

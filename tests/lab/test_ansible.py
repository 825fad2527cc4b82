"""ansible-playbook itself, on a rig that `fab provision` has turned into a host."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.build.image import RigImage
from lab.rigs.machine import Rig
from tests.lab.operator import ROOT, fab

NAME = "test16"


@pytest.fixture(scope="module")
def target(make_rig: Callable[..., Rig], provisioned_image: RigImage) -> Rig:
    return make_rig(NAME, built=provisioned_image)


@pytest.mark.extended
def test_ansible_changes_nothing_on_a_provisioned_rig(
    target: Rig, inventory: Path, tmp_path: Path
) -> None:
    result = fab(inventory, NAME, "provision", seconds=400)
    assert result.status == 0, result.text
    # Ansible copies a folder whole: what Python compiled here must not be in it.
    clean = shutil.ignore_patterns("__pycache__")
    for name in ("playbooks", "inventory", "provision", "agent", "tests/rig"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=clean)
    shutil.copy(ROOT / "ansible.cfg", tmp_path)
    binary = Path(sys.executable).parent / "ansible-playbook"
    command = [str(binary), "-i", str(inventory), "-l", NAME, "playbooks/provision.yml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    # Under Ansible, the first step installs the facts that our engine has built in.
    steps = done.stdout.split("PLAY [")
    changed = [step.split("]")[0] for step in steps if f"\nchanged: [{NAME}]" in step]
    assert changed == ["Rig facts"], done.stdout

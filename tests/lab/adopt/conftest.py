"""A rig as it was bought, and the home folder of an operator without rigs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab.build import flavour
from lab.rigs.machine import Rig
from provision.inventory import yaml_source
from tests.lab.operator import ROOT, FabResult, finish

NAME = "test50"
USER, PASSWORD = flavour.find("hiveos").user, flavour.find("hiveos").password
RIGS = """\
# My rigs.
rigs:
  hosts:
    cellar:   # the other one
      ansible_host: 192.0.2.7   # by DHCP

  # The boss' own are elsewhere.
other:
  hosts: {}
"""


@dataclass(frozen=True)
class Home:
    """An operator's home folder and inventory before the first rig."""

    folder: Path
    inventory: Path
    rig: Rig

    def adopt(self, *words: str, password: str = "", address: str = "") -> FabResult:
        """Run `fab adopt`; the password comes from a file."""
        given = self.folder / "password.yml"
        given.write_text(json.dumps({"ansible_password": password}))
        extra = ["-e", f"@{given}"] if password else []
        where = address or f"{self.rig.address}:{self.rig.port}"
        command = [
            sys.executable,
            "-m",
            "fabric",
            "adopt",
            "-H",
            where,
            "--inventory",
            str(self.inventory),
            "--accept-new",
            *extra,
            *words,
        ]
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "HOME": str(self.folder), "COLUMNS": "200"},
        )
        return finish(process)

    def steps(self, result: FabResult) -> dict[str, str]:
        """The statuses of a run with --json."""
        (report,) = json.loads(result.stdout)
        return {step["name"]: step["status"] for step in report["steps"]}

    def files(self) -> dict[str, str]:
        """All that the inventory and the home folder hold."""
        paths = [*self.inventory.rglob("*"), *(self.folder / ".ssh").rglob("*")]
        return {str(path): path.read_text() for path in paths if path.is_file()}

    def entry(self, name: str) -> dict[str, Any]:
        """A rig's variables, as the file has them."""
        document = yaml_source.load_yaml(self.inventory / "rigs.yml")
        return dict(document["rigs"]["hosts"][name])

    def ssh(self, *options: str, user: str = USER) -> subprocess.CompletedProcess[str]:
        """OpenSSH itself, as the operator would use it."""
        command = [
            "ssh",
            "-F",
            "none",
            "-p",
            str(self.rig.port),
            *options,
            "-o",
            f"UserKnownHostsFile={self.folder}/.ssh/known_hosts",
            "-o",
            "ConnectTimeout=10",
            f"{user}@{self.rig.address}",
            "echo in",
        ]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    @property
    def by_key(self) -> tuple[str, ...]:
        """OpenSSH's options for the new key and nothing else."""
        key = self.folder / ".ssh/id_ed25519"
        return ("-i", str(key), "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes")


#: The folders that adopting and the tests here change; their copy is restored after each test.
FOLDERS = "/etc /home /root /var/mail /run/hardware/sys/class/dmi"
KEEP = f"mkdir /run/kept && cp -a --parents {FOLDERS} /run/kept"
PUT_BACK = (
    f"pkill -KILL -u user; for folder in {FOLDERS}; do find $folder -mindepth 1 -delete;"
    " cp -a /run/kept/$folder/. $folder/; done; systemctl daemon-reload; systemctl restart ssh"
)


@pytest.fixture(scope="package")
def bought_rig(make_rig: Callable[[str], Rig]) -> Iterator[Rig]:
    """A rig as it was bought, with a copy of what the tests change."""
    rig = make_rig(NAME)
    rig.run(KEEP)
    yield rig
    rig.discard()


@pytest.fixture
def target(bought_rig: Rig) -> Iterator[Rig]:
    """That rig; after the test it is restored."""
    yield bought_rig
    bought_rig.run(PUT_BACK, check=False)
    bought_rig.wait()


@pytest.fixture
def home(target: Rig, tmp_path: Path) -> Home:
    """A rig as it was bought, and an operator without rigs."""
    inventory = tmp_path / "inventory"
    inventory.mkdir()
    (inventory / "rigs.yml").write_text(RIGS)
    folder = tmp_path / "home"
    folder.mkdir()
    return Home(folder, inventory, target)

"""Which authorized keys are removed; the operator's own key never is."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.rigs.machine import Rig
from tests.lab.operator import FabResult, fab, write_variant

NAME = "test28"
OTHER = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKb8Vw2rN5tQm9xL4sZc7yE1dF6gH3jP0aUqWvBnXoYt x@y"
FILES = "/root/.ssh/authorized_keys /home/user/.ssh/authorized_keys"


@pytest.fixture(scope="module")
def target(make_rig: Callable[..., Rig]) -> Rig:
    return make_rig(NAME, flavour="clean")


@pytest.fixture(scope="module")
def key(target: Rig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The operator's key, which the rig accepts beside another key."""
    file = tmp_path_factory.mktemp("key") / "id"
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "me@home", "-f", str(file)]
    subprocess.run(command, check=True)
    write_keys(target, read_public_key(file))
    return file


def read_public_key(key: Path) -> str:
    return key.with_suffix(".pub").read_text().strip()


def write_keys(rig: Rig, line: str) -> None:
    for folder, user in (("/root", "root"), ("/home/user", "user")):
        rig.run(
            f"mkdir -p {folder}/.ssh; printf '%s\\n' '{OTHER}' '{line}' "
            f">{folder}/.ssh/authorized_keys; chown -R {user}: {folder}/.ssh; "
            f"chmod 700 {folder}/.ssh; chmod 600 {folder}/.ssh/authorized_keys"
        )


def demine(inventory: Path, *keys: str) -> FabResult:
    only = json.dumps({"authorized_keys_only": list(keys)})
    return fab(inventory, NAME, "provision", "--tags", "demine", "-e", only)


def read_keys(rig: Rig) -> list[str]:
    return sorted(rig.run(f"cat {FILES} | grep -v '^#' || true").stdout.splitlines())


@pytest.fixture
def by_key(inventory: Path, key: Path) -> Path:
    """The inventory of an operator who logs in by key."""
    return write_variant(
        inventory, NAME, ansible_password=None, ansible_ssh_private_key_file=str(key)
    )


def test_key_of_the_current_session_is_never_removed(by_key: Path, target: Rig, key: Path) -> None:
    before = read_keys(target)
    result = demine(by_key, OTHER)
    assert result.status != 0
    result.assert_shows("the key by which you are logged in", "SHA256:", "authorized_keys_only")
    assert read_keys(target) == before
    # The same for one whose comment is a vendor's.
    target.run(f"sed -i s/me@home/support@minerstat.com/ {FILES}")
    result = demine(by_key)
    assert result.status != 0
    result.assert_shows("give it another one")
    target.run(f"sed -i s/support@minerstat.com/me@home/ {FILES}")
    assert read_keys(target) == before


def test_only_listed_keys_are_kept(by_key: Path, target: Rig, key: Path) -> None:
    result = demine(by_key, read_public_key(key))
    assert result.status == 0, result.text
    assert read_keys(target) == [read_public_key(key)] * 2
    assert f"# deeprig: {OTHER}" in target.run(f"cat {FILES}").stdout
    result = demine(by_key, read_public_key(key))
    result.assert_shows("changed=0")


def test_all_keys_can_be_removed_in_a_password_session(
    inventory: Path, target: Rig, key: Path
) -> None:
    result = demine(inventory, OTHER)
    assert result.status == 0, result.text
    assert read_keys(target) == []


def test_keys_of_a_plain_system_are_not_changed(inventory: Path, target: Rig, key: Path) -> None:
    write_keys(target, read_public_key(key))
    result = demine(inventory)
    result.assert_shows("changed=0")
    assert read_keys(target) == sorted([OTHER, read_public_key(key)] * 2)

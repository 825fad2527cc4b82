"""Keys of others: which go, which stay, and that the operator's way in is never taken."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.rigs.machine import Rig
from tests.lab.operator import Said, fab, variant

NAME = "test28"
OTHER = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKb8Vw2rN5tQm9xL4sZc7yE1dF6gH3jP0aUqWvBnXoYt x@y"
FILES = "/root/.ssh/authorized_keys /home/user/.ssh/authorized_keys"


@pytest.fixture(scope="module")
def target(make_rig: Callable[..., Rig]) -> Rig:
    return make_rig(NAME, flavour="clean")


@pytest.fixture(scope="module")
def key(target: Rig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The operator's own key, which the rig takes; somebody else's stand beside it."""
    file = tmp_path_factory.mktemp("key") / "id"
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "me@home", "-f", str(file)]
    subprocess.run(command, check=True)
    lay(target, public(file))
    return file


def public(key: Path) -> str:
    return key.with_suffix(".pub").read_text().strip()


def lay(rig: Rig, line: str) -> None:
    for folder, user in (("/root", "root"), ("/home/user", "user")):
        rig.run(
            f"mkdir -p {folder}/.ssh; printf '%s\\n' '{OTHER}' '{line}' "
            f">{folder}/.ssh/authorized_keys; chown -R {user}: {folder}/.ssh; "
            f"chmod 700 {folder}/.ssh; chmod 600 {folder}/.ssh/authorized_keys"
        )


def demine(inventory: Path, *keys: str) -> Said:
    only = json.dumps({"authorized_keys_only": list(keys)})
    return fab(inventory, NAME, "provision", "--tags", "demine", "-e", only)


def lines(rig: Rig) -> list[str]:
    return sorted(rig.run(f"cat {FILES} | grep -v '^#' || true").stdout.splitlines())


@pytest.fixture
def by_key(inventory: Path, key: Path) -> Path:
    """The inventory of an operator who logs in by key."""
    return variant(inventory, NAME, ansible_password=None, ansible_ssh_private_key_file=str(key))


def test_the_key_of_this_session_is_not_taken(by_key: Path, target: Rig, key: Path) -> None:
    before = lines(target)
    said = demine(by_key, OTHER)
    assert said.status != 0
    said.names("the key by which you are logged in", "SHA256:", "authorized_keys_only")
    assert lines(target) == before
    # The same for one whose comment is a vendor's.
    target.run(f"sed -i s/me@home/support@minerstat.com/ {FILES}")
    said = demine(by_key)
    assert said.status != 0
    said.names("give it another one")
    target.run(f"sed -i s/support@minerstat.com/me@home/ {FILES}")
    assert lines(target) == before


def test_only_the_keys_that_are_named_stay(by_key: Path, target: Rig, key: Path) -> None:
    said = demine(by_key, public(key))
    assert said.status == 0, said.text
    assert lines(target) == [public(key)] * 2
    assert f"# deeprig: {OTHER}" in target.run(f"cat {FILES}").stdout
    said = demine(by_key, public(key))
    said.names("changed=0")


def test_who_logs_in_by_password_may_take_all_keys(inventory: Path, target: Rig, key: Path) -> None:
    said = demine(inventory, OTHER)
    assert said.status == 0, said.text
    assert lines(target) == []


def test_a_plain_system_is_left_as_it_is(inventory: Path, target: Rig, key: Path) -> None:
    lay(target, public(key))
    said = demine(inventory)
    said.names("changed=0")
    assert lines(target) == sorted([OTHER, public(key)] * 2)

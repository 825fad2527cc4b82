"""Preflight asks the rig's repositories before the first change: names, network and clock."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lab.rigs.machine import Rig
from tests.lab.operator import fab

pytestmark = pytest.mark.extended  # each case waits for networks

NAME = "test74"
TREE = (
    "find /etc /usr /opt /root /hive /var/lib/dpkg /var/lib/apt /boot -xdev -type f"
    " ! -path '/hive/log/*' -printf '%p %s %T@\\n' | sort | sha256sum; ls /var/tmp"
)
DEAD = "deb [trusted=yes] http://127.0.0.9:9/mining ./"


@pytest.fixture(scope="module")
def target(make_rig: Callable[..., Rig]) -> Rig:
    return make_rig(NAME)


def check_refused(rig: Rig, inventory: Path, *words: str) -> None:
    """Assert that preflight refuses with these words, and that nothing changes."""
    before = rig.run(TREE).stdout
    result = fab(inventory, NAME, "provision", "--tags", "demine")
    assert result.status == 2, result.text
    result.assert_shows("playbooks/preflight.yml", "changed=0", *words)
    assert rig.run(TREE).stdout == before


def test_unreachable_repositories_are_refused_with_their_reasons(
    target: Rig, inventory: Path
) -> None:
    target.run("mkdir /root/sources; mv /etc/apt/sources.list* /root/sources/; mkdir -p /etc/apt")
    target.run(f"echo '{DEAD}' >/etc/apt/sources.list; mkdir /etc/apt/sources.list.d")
    check_refused(
        target,
        inventory,
        "the distribution's repositories do not have ca-certificates",
        "http://127.0.0.9:9/mining",
        "Could not connect",
    )
    target.run("echo 'deb http://no-such-host.invalid/debian bookworm main' >/etc/apt/sources.list")
    check_refused(target, inventory, "names can't be resolved", "no-such-host.invalid")
    target.run("rm -r /etc/apt/sources.list*; mv /root/sources/* /etc/apt/")


def test_wrong_clock_is_refused(target: Rig, inventory: Path) -> None:
    # The lab's rigs share the machine's clock: a program in the place of date is behind by a day.
    target.run(
        'printf \'#!/bin/sh\\ncase "$*" in\\n+%%s) exec /usr/bin/date -d -1day +%%s ;;\\nesac\\n'
        'exec /usr/bin/date "$@"\\n\' >/usr/local/bin/date; chmod 755 /usr/local/bin/date'
    )
    check_refused(
        target, inventory, "the rig's clock is 14", "minutes behind", "timedatectl set-ntp"
    )
    target.run("rm /usr/local/bin/date")


def test_dead_repository_that_nothing_needs_is_only_named(target: Rig, inventory: Path) -> None:
    target.run(f"echo '{DEAD}' >/etc/apt/sources.list.d/dead.list")
    result = fab(inventory, NAME, "provision", "--tags", "demine,base,driver,reboot", seconds=400)
    assert result.status == 0, result.text
    result.assert_shows("repositories that do not answer", "http://127.0.0.9:9/mining")

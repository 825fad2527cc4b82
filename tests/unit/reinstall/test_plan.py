"""What `fab reinstall` would do, and all reasons at once for which it refuses."""

from __future__ import annotations

import pytest

from provision.reinstall.plan import ReinstallPlan, make_plan
from provision.reinstall.survey import parse_survey
from provision.reinstall.systems import find_system
from tests.unit.reinstall import answers

IMAGE = 300_000_000


def plan(**changed: str) -> ReinstallPlan:
    return make_plan(parse_survey(answers.write(**changed)), find_system("debian13"), IMAGE)


def test_usual_rig_is_not_refused() -> None:
    made = plan()
    assert made.refusals == ()
    assert made.tree == "/deeprig-1"
    assert made.needed_bytes == 1_800_000_000


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"root": "/dev/sda1\tbtrfs\t1111aaaa-01\trw"}, "btrfs, in which GRUB can't write"),
        ({"root": "overlay\toverlay\t\trw"}, "in memory (overlay)"),
        ({"device": "root\tcrypt\t1G\nvg-root\tlvm\t1G\nsda\tdisk\t1G"}, "on LUKS and LVM"),
        ({"device": "md0\traid1\t1G\nsda\tdisk\t1G"}, "on RAID"),
        ({"platform": "", "grub": ""}, "does not boot by GRUB 2"),
        ({"grub_cfg": "0\t3"}, "does not read custom.cfg"),
        ({"grub_cfg": "2\t0"}, "does not read next_entry"),
        ({"grubenv": ""}, "no environment file"),
        ({"boot": "/boot/grub\tbtrfs\t1111aaaa-02"}, "/boot is on btrfs"),
        ({"firmware": "uefi\t1"}, "Secure Boot is on"),
        ({"room": "4000000\t1000000"}, "0.8 GB are missing"),
        ({"inodes": "900"}, "room for 900 further files"),
        ({"memory": "500000"}, "0.5 GB of memory"),
        ({"interface": "wlan0\t02:00:00:00:00:01\twifi"}, "Wi-Fi"),
        ({"interface": "br0\t02:00:00:00:00:01\tvirtual"}, "a bridge, bond or VPN"),
        ({"interface": ""}, "no default route"),
        ({"missing": "gzip\nlsblk"}, "lacks programs: gzip, lsblk"),
        ({"system": "Raspbian\traspbian\t10\t5.10\tarmv7l"}, "armv7l"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
def test_rig_without_a_way_back_is_refused(changed: dict[str, str], words: str) -> None:
    (refusal,) = plan(**changed).refusals
    assert words in refusal


def test_all_reasons_come_at_once() -> None:
    made = plan(root="/dev/sda1\txfs\t1111aaaa-01\trw", firmware="uefi\t1", room="9\t9")
    assert len(made.refusals) == 3


def test_tree_that_is_whole_needs_no_room() -> None:
    made = plan(tree="/deeprig-1\tabcdef\tDebian 13", room="4000000\t1000000")
    assert (made.needed_bytes, made.refusals) == (0, ())


def test_second_reinstallation_takes_the_other_folder() -> None:
    assert plan(running="/deeprig-1\t", default="/deeprig-1").tree == "/deeprig-2"

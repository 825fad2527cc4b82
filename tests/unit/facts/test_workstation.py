"""A personal computer is distinguished from a rig."""

from __future__ import annotations

from pathlib import Path

import pytest

from provision.remote.facts.tree import Tree
from provision.remote.facts.workstation import workstation
from tests.unit.modules.rig import create_files


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"sys/class/dmi/id/chassis_type": "3\n"}, None),
        ({"sys/class/dmi/id/chassis_type": "10\n"}, "notebook"),
        ({"sys/class/power_supply/BAT0/type": "Battery\n"}, "battery"),
        ({"sys/class/power_supply/AC/type": "Mains\n"}, None),
        (
            {
                "sys/class/power_supply/hidpp_battery_0/type": "Battery\n",
                "sys/class/power_supply/hidpp_battery_0/scope": "Device\n",
            },
            None,
        ),
        ({"proc/9/comm": "gnome-shell\n"}, "gnome-shell runs"),
        ({"proc/9/comm": "cinnamon\n"}, "cinnamon runs"),
        ({"proc/9/comm": "lolMiner\n", "proc/10/comm": "Xorg\n"}, None),
    ],
)
def test_signs_of_a_personal_computer(
    tmp_path: Path, files: dict[str, str], words: str | None
) -> None:
    create_files(tmp_path, files)
    signs = workstation(Tree(str(tmp_path)))
    assert len(signs) == (0 if words is None else 1)
    assert words is None or words in signs[0]

"""The program that sets persistence and power limits: each present card gets its own, alone."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.unit.playbooks.playbook_shell import PLAYBOOKS, render_template
from tests.unit.playbooks.test_rig_variables import AMPERE, value

TEMPLATES = PLAYBOOKS / "templates"
LIMITS = {"2204": 280, "1b06": 200, "2484": 176}
#: address: (vendor, class, device)
BUS = {
    "0000:04:00.0": ("0x10de", "0x030000", "0x2204"),
    "0000:04:00.1": ("0x10de", "0x040300", "0x1aef"),  # its sound
    "0000:06:00.0": ("0x10de", "0x030200", "0x1b06"),
    "0000:08:00.0": ("0x10de", "0x030000", "0x2b85"),  # no limit
    "0000:0a:00.0": ("0x1002", "0x030000", "0x2204"),  # another vendor's
}
SMI = """#!/bin/sh
echo "$*" >>{folder}/calls
case "$*" in
*--query-gpu=uuid*) case $2 in 0000:04:00.0) echo GPU-aa ;; *) echo GPU-bb ;; esac ;;
*$FAILS*) echo "Unable to determine the device handle for $2: Unknown Error"; exit 15 ;;
*"$HANGS -pm"*) exec sleep 600 ;;
esac
"""


def start(
    folder: Path, by_uuid: dict[str, int] | None = None, fails: str = "none", hangs: str = "none"
) -> subprocess.Popen[str]:
    for address, words in BUS.items():
        device = folder / "devices" / address
        device.mkdir(parents=True)
        for name, word in zip(("vendor", "class", "device"), words, strict=True):
            (device / name).write_text(f"{word}\n")
    (folder / "nvidia-smi").write_text(SMI.replace("{folder}", str(folder)))
    (folder / "nvidia-smi").chmod(0o755)
    text = render_template(
        (TEMPLATES / "gpu-power.j2").read_text(),
        gpu_power_limits=by_uuid or {},
        power_limits_by_model=LIMITS,
    )
    program = folder / "gpu-power"
    program.write_text(text.replace("PATH=/usr", f"PATH={folder}:/usr"))
    return subprocess.Popen(
        ["sh", str(program)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={"DEVICES": str(folder / "devices"), "FAILS": fails, "HANGS": hangs},
    )


def calls(folder: Path) -> set[str]:
    file = folder / "calls"
    return {*file.read_text().splitlines()} if file.exists() else set()


def test_each_card_gets_the_limit_of_its_model(tmp_path: Path) -> None:
    process = start(tmp_path)
    assert process.communicate()[1] == ""
    assert process.returncode == 0
    assert calls(tmp_path) == {
        "-i 0000:04:00.0 -pm 1",
        "-i 0000:04:00.0 -pl 280",
        "-i 0000:06:00.0 -pm 1",
        "-i 0000:06:00.0 -pl 200",
        "-i 0000:08:00.0 -pm 1",
    }


def test_limit_of_one_card_wins_over_its_models(tmp_path: Path) -> None:
    process = start(tmp_path, {"GPU-aa": 250})
    process.communicate()
    limits = {call for call in calls(tmp_path) if "-pl" in call}
    assert limits == {"-i 0000:04:00.0 -pl 250", "-i 0000:06:00.0 -pl 200"}


def test_card_that_fails_does_not_affect_the_others(tmp_path: Path) -> None:
    process = start(tmp_path, fails="0000:04:00.0")
    errors = process.communicate()[1]
    assert process.returncode == 0
    assert "0000:04:00.0: no answer to the persistence mode: Unable to determine" in errors
    assert "-i 0000:06:00.0 -pl 200" in calls(tmp_path)
    assert "-i 0000:04:00.0 -pl 280" not in calls(tmp_path)


def test_refused_limit_is_reported(tmp_path: Path) -> None:
    process = start(tmp_path, fails="-pl 280")
    errors = process.communicate()[1]
    assert process.returncode == 0
    assert "0000:04:00.0: the limit of 280 W was refused: " in errors
    assert "-i 0000:06:00.0 -pl 200" in calls(tmp_path)


def test_hung_card_delays_no_other(tmp_path: Path) -> None:
    process = start(tmp_path, hangs="0000:04:00.0")
    try:
        while "-i 0000:06:00.0 -pl 200" not in calls(tmp_path):
            assert process.poll() is None, "it ended without the limit of the other card"
    finally:
        os.killpg(process.pid, 9)
        process.communicate()


def test_driver_that_does_not_answer_at_all_is_a_failure(tmp_path: Path) -> None:
    process = start(tmp_path, fails="-pm")
    assert "no GPU answers" in process.communicate()[1]
    assert process.returncode == 1


def test_unit_does_not_try_for_ever() -> None:
    text = (TEMPLATES / "gpu-power.service.j2").read_text()
    assert "StartLimitBurst=10\n" in text
    assert "StartLimitIntervalSec=600\n" in text
    assert "TimeoutStartSec=" in text


@pytest.mark.parametrize(
    ("settings", "limit"),
    [({}, 280), ({"gpu_power_limit_watts": 200}, 200), ({"gpu_power_limit_watts": 0}, None)],
)
def test_limits_by_model(settings: dict[str, int], limit: int | None) -> None:
    limits = value("power_limits_by_model", AMPERE, **settings)
    assert limits.get(AMPERE) == limit

"""Steps that fail: the error names task, position and reason, and the step works after the fix."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.rigs.machine import Rig
from tests.lab.operator import STEPS, FabResult, fab, write_playbook

NAME = "test7"
DRIVER = STEPS / "driver.yml"
TASKS = "playbooks/tasks/driver"
REFUSE = "playbooks/tasks/refuse_packages.yml"


def assert_task_failed(result: FabResult, file: str, task: str, *parts: str) -> None:
    """Assert exit status 2, and an error with file and line, task and host."""
    assert result.status == 2, result.text
    result.assert_shows("failed=1", f"{file}:", f"task: {task}", f"host: {NAME}", *parts)
    (place,) = [line for line in result.stdout.splitlines() if f"{file}:" in line]
    path, line = place.split()[0].split(":")[:2]
    written = (STEPS.parent / path).read_text().splitlines()
    assert written[int(line) - 1].strip() == f"- name: {task}"


def assert_nothing_changed(rig: Rig) -> None:
    """Assert that apt works, and that the driver step left none of its settings."""
    rig.run("apt-get update && apt-get --simulate install hello && dpkg --audit")
    left = "ls /etc/apt/sources.list.d /etc/apt/preferences.d /var/lib/deeprig | grep -c nvidia"
    assert rig.run(left, check=False).stdout.strip() == "0"
    assert rig.run("dpkg --audit").stdout == ""


class TestPreflight:
    """On the rig as it was bought: preflight changes nothing."""

    @pytest.fixture(autouse=True)
    def unchanged(self, target: Rig) -> Iterator[None]:
        def state() -> str:
            looked_at = "/etc /hive /hive-config /boot /usr /opt /var/backups /var/lib/dpkg"
            return target.run(
                f"find {looked_at} -printf '%p %s %T@ %m\\n' | sort | sha256sum; "
                "systemctl list-units --no-legend --state=active --type=service | cut -c3-40"
            ).stdout

        before = state()
        yield
        assert state() == before

    def test_preflight_reports_all_reasons_at_once(
        self, inventory: Path, fault: Callable[..., None]
    ) -> None:
        fault("usb-watchdog")
        fault("secure-boot")
        settings = ("-e", "preflight_root_disk_gb=100000", "-e", "nvidia_driver_branch=400")
        result = fab(inventory, NAME, "provision", *settings)
        assert_task_failed(
            result,
            "playbooks/preflight.yml",
            "Refuse what can't work",
            "changed=0",
            "GB, and 100000 are needed",
            "Secure Boot is on",
            "a USB watchdog is plugged in (1a86:e2e3)",
            "driver branch 400 is too old for ampere",
        )

    def test_card_without_support_in_the_driver_branch_is_refused(
        self, inventory: Path, target: Rig
    ) -> None:
        device = target.hardware_folder / "sys/bus/pci/devices" / target.gpus()[0].address
        was = (device / "device").read_text()
        (device / "device").write_text("0x1b06\n")  # GTX 1080 Ti
        try:
            result = fab(inventory, NAME, "provision", "-e", "nvidia_driver_branch=590")
        finally:
            (device / "device").write_text(was)
        assert_task_failed(
            result,
            "playbooks/preflight.yml",
            "Refuse what can't work",
            "driver branch 590 does not support",
            "pascal",
            "set nvidia_driver_branch to 580",
        )

    def test_personal_computer_is_refused_without_a_flag(
        self, inventory: Path, target: Rig
    ) -> None:
        chassis = target.hardware_folder / "sys/class/dmi/id/chassis_type"
        was = chassis.read_text()
        chassis.write_text("10\n")
        words = ("provision", "--tags", "preflight", "--check")
        try:
            result = fab(inventory, NAME, *words)
            meant = fab(inventory, NAME, *words, "--accept-workstation")
        finally:
            chassis.write_text(was)
        assert_task_failed(
            result,
            "playbooks/preflight.yml",
            "Refuse what can't work",
            "its chassis is a notebook's",
            "--accept-workstation",
        )
        assert meant.status == 0, meant.text

    def test_rig_without_gpus_is_refused(self, inventory: Path, target: Rig) -> None:
        devices = target.hardware_folder / "sys/bus/pci/devices"
        cards = [devices / gpu.address / "vendor" for gpu in target.gpus()]
        for card in cards:
            card.write_text("0x1002\n")  # AMD
        try:
            result = fab(inventory, NAME, "provision")
        finally:
            for card in cards:
                card.write_text("0x10de\n")
        assert_task_failed(
            result, "playbooks/preflight.yml", "Refuse what can't work", "no NVIDIA GPU is visible"
        )


@pytest.mark.extended
class TestDriver:
    """From demined rig to driver, with one failure after the other, in this order."""

    def test_demine_and_base_come_first(self, inventory: Path) -> None:
        result = fab(inventory, NAME, "provision", "--tags", "demine,base")
        assert result.status == 0, result.text

    def test_unreachable_repository_is_reported(
        self, inventory: Path, fault: Callable[..., None]
    ) -> None:
        fault("repo-down")
        result = fab(inventory, NAME, "play", DRIVER)
        assert_task_failed(result, f"{TASKS}/key.yml", "Fetch the key", "/cuda/key.asc", "refused")

    def test_key_with_another_fingerprint_is_refused(self, inventory: Path, target: Rig) -> None:
        pinned = "EB693B3035CD5710E231E123A4B469963BF863CC"
        setting = f"nvidia_repository_key_fingerprint={pinned}"
        result = fab(inventory, NAME, "play", DRIVER, "-e", setting)
        assert_task_failed(
            result,
            f"{TASKS}/key.yml",
            "Refuse a key that is not the vendor's",
            "has 1 primary keys",
            f"Expected one key, {pinned}",
            "do not use this repository",
        )
        assert not list((target.root / "usr/share/keyrings").glob("nvidia*"))
        assert not (target.root / "etc/apt/sources.list.d/nvidia.sources").exists()

    def test_invalid_repository_signature_is_refused(
        self, inventory: Path, fault: Callable[..., None]
    ) -> None:
        fault("repo-badsig")
        result = fab(inventory, NAME, "play", DRIVER)
        assert_task_failed(
            result,
            REFUSE,
            "The packages are not installed",
            "NO_PUBKEY",
            "is not signed",
            "fix its address, key or network",
        )

    def test_missing_package_is_reported(self, inventory: Path, target: Rig) -> None:
        # The lists are fetched first: the run before could not.
        result = fab(inventory, NAME, "play", DRIVER, "-e", "nvidia_driver_branch=999")
        assert_task_failed(
            result,
            REFUSE,
            "The packages are not installed",
            "no repository of the rig has driver branch 999",
            "570, 580",
        )
        assert_nothing_changed(target)

    def test_failing_postinst_is_reported(
        self, inventory: Path, target: Rig, fault: Callable[..., None]
    ) -> None:
        package = "nvidia-kernel-open-dkms"
        fault("bad-postinst", package)
        result = fab(inventory, NAME, "play", DRIVER)
        assert_task_failed(
            result,
            REFUSE,
            "The packages are not installed",
            f"package {package} could not be installed",
            f"{package}: could not be set up: Input/output error",
        )
        assert result.text.count("Input/output error") == 1
        assert len(result.text.splitlines()) < 90
        assert_nothing_changed(target)

    def test_driver_installs_after_the_faults_are_fixed(self, inventory: Path, target: Rig) -> None:
        predicted = fab(inventory, NAME, "play", DRIVER, "--check")
        result = fab(inventory, NAME, "play", DRIVER)
        assert result.status == 0, result.text
        # Only the repository knows what it has, and the run before left no entry of it.
        assert "unknown      The driver" in predicted.text
        assert "changed      The driver" in result.text
        assert target.run("dpkg --audit").stdout == ""
        fab(inventory, NAME, "play", DRIVER).assert_shows("changed=0")

    def test_missing_kernel_headers_are_reported(
        self, inventory: Path, target: Rig, fault: Callable[..., None]
    ) -> None:
        fault("dkms-strict")
        driver = "dpkg-query -W -f '${Package} ' '*nvidia*' 'libcuda*' 'libnv*' '*glx*' 2>/dev/null"
        headers = "linux-headers-$(uname -r)"
        target.run(f"dpkg --force-all --purge {headers} $({driver}) 2>&1", check=False)
        result = fab(inventory, NAME, "play", DRIVER)
        assert_task_failed(
            result,
            REFUSE,
            "The packages are not installed",
            "Your kernel headers for kernel",
        )
        again = fab(inventory, NAME, "provision", "--tags", "base,driver")
        assert again.status == 0, again.text


class TestFullDisk:
    def test_copy_to_a_full_disk_is_reported(
        self, inventory: Path, target: Rig, fault: Callable[..., None], tmp_path: Path
    ) -> None:
        play = write_playbook(
            tmp_path,
            {
                "name": "Copy",
                "ansible.builtin.copy": {
                    "dest": "/opt/file",
                    "content": "{{ 'x' * 4096 }}",
                    "mode": "0600",
                },
            },
            {"name": "Later", "ansible.builtin.command": {"cmd": "touch /root/later"}},
        )
        fault("disk-full", "/opt")
        result = fab(inventory, NAME, "play", play)
        assert result.status == 2
        result.assert_shows(f"{play}:5:5: can't write /opt/file: No space left", "task: Copy", NAME)
        assert target.run("ls -A /opt").stdout.split() == [".full"]  # no part of it is left
        assert not (target.root / "root/later").exists()

    def test_pytorch_on_a_full_disk_is_reported(
        self, inventory: Path, target: Rig, fault: Callable[..., None]
    ) -> None:
        fault("disk-full", "/opt")
        result = fab(inventory, NAME, "play", STEPS / "pytorch.yml")
        assert_task_failed(
            result,
            "playbooks/tasks/python_installer.yml",
            "Version and hashes of uv",
            "can't write /opt/deeprig/locks/uv.txt: No space left on device",
        )

"""The hardware of a lab rig: described by a file, written as the kernel shows it."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from lab.errors import LabError
from lab.simulate import control, pcie, procfs, sysfs
from lab.simulate.hardware import Hardware, LabLink


@pytest.fixture
def seed() -> Hardware:
    return Hardware.load("seed")


def path_links(sys: Path, address: str) -> list[tuple[str, str]]:
    """Read the links from a device up to its root port."""
    device, widths = (sys / "bus/pci/devices" / address).resolve(), []
    while device.name != "pci0000:00":
        width = (device / "current_link_width").read_text().strip()
        widths.append((device.name, width))
        device = device.parent
    return widths


def test_every_function_is_below_an_existing_bridge(seed: Hardware) -> None:
    for profile in seed.profiles:
        tree = seed.tree(profile)
        buses = {function.at: function.bus for function in tree if function.bridge}
        assert len({function.at for function in tree}) == len(tree)
        for function in tree:
            if function.under:
                assert function.at.startswith(buses[function.under])


def test_seed_rig_has_x1_links(seed: Hardware, tmp_path: Path) -> None:
    pcie.write_tree(tmp_path, seed.tree("x1"), aer=True)
    assert path_links(tmp_path, "0000:08:00.0") == [("0000:08:00.0", "1"), ("0000:00:03.1", "1")]
    assert path_links(tmp_path, "0000:06:00.0") == [
        ("0000:06:00.0", "1"),
        ("0000:03:04.0", "1"),
        ("0000:02:00.2", "4"),
        ("0000:00:01.3", "4"),
    ]
    card = tmp_path / "bus/pci/devices/0000:08:00.0"
    assert (card / "max_link_speed").read_text() == "16.0 GT/s PCIe\n"
    assert (card / "current_link_speed").read_text() == "2.5 GT/s PCIe\n"  # idle
    assert (card / "aer_dev_correctable").read_text().splitlines()[-1] == "TOTAL_ERR_COR 0"
    assert len(list((tmp_path / "bus/pci/devices/0000:00:03.1").glob("aer_*"))) == 6
    assert (card / "subsystem").resolve() == tmp_path / "bus/pci"
    assert (card.parent / "0000:00:03.1/driver").resolve().name == "pcieport"


def test_split_slot_has_x4_links(seed: Hardware, tmp_path: Path) -> None:
    pcie.write_tree(tmp_path, seed.tree("x4x4x4x4"), aer=False)
    for gpu in seed.gpus("x4x4x4x4"):
        assert {width for _, width in path_links(tmp_path, gpu.address)} == {"4"}
    assert not list(tmp_path.rglob("aer_*"))


def test_config_space_matches_the_sysfs_files(seed: Hardware, tmp_path: Path) -> None:
    pcie.write_tree(tmp_path, seed.tree("x1"), aer=True)
    pcie.set_link(tmp_path, "0000:08:00.0", LabLink(2, 1))
    config = (tmp_path / "bus/pci/devices/0000:08:00.0/config").read_bytes()
    assert struct.unpack_from("<HH", config) == (0x10DE, 0x2204)
    assert struct.unpack_from("<H", config, pcie.LINK_STATUS) == (2 | 1 << 4,)
    port = tmp_path / "bus/pci/devices/0000:00:03.1"
    assert port.joinpath("current_link_speed").read_text() == "5.0 GT/s PCIe\n"


def test_missing_gpu_leaves_its_port(seed: Hardware, tmp_path: Path) -> None:
    gpus = seed.gpus("x1")[:2]
    pcie.write_tree(tmp_path, seed.tree("x1", gpus), aer=True)
    assert not (tmp_path / "bus/pci/devices/0000:08:00.0").exists()
    assert (tmp_path / "bus/pci/devices/0000:00:03.1").exists()


def test_unknown_profile_error_lists_the_profiles(seed: Hardware) -> None:
    with pytest.raises(LabError, match="It has: x1, x4x4x4x4"):
        seed.tree("x8x8")


def test_sysfs_tree_is_complete(seed: Hardware, tmp_path: Path) -> None:
    gpus = seed.gpus("x1")
    binds = sysfs.write_sys(tmp_path, seed, "x1", gpus, interface="eth0", aer=False)
    assert (tmp_path / "class/dmi/id/board_name").read_text() == "B450 Steel Legend\n"
    assert (tmp_path / "class/net/eth0/device").resolve().name == "0000:05:00.0"
    assert (tmp_path / sysfs.SECURE_BOOT).read_bytes() == b"\x06\0\0\0\0"
    assert all(bind.startswith(("--bind=", "--bind-ro=")) for bind in binds)
    sysfs.set_usb(tmp_path, "1-4", "1a86:e2e3")
    assert (tmp_path / "bus/usb/devices/1-4/idProduct").read_text() == "e2e3\n"
    sysfs.set_usb(tmp_path, "1-4", None)
    assert not list((tmp_path / "bus/usb/devices").iterdir())


def test_procfs_files_are_written(seed: Hardware, tmp_path: Path) -> None:
    grub = tmp_path / "boot/grub/grub.cfg"
    grub.parent.mkdir(parents=True)
    grub.write_text("menuentry 'x' {\n    linux /boot/vmlinuz-6 root=LABEL=HIVE ro pci=noaer\n}\n")
    procfs.write_proc(tmp_path / "proc", seed, tmp_path)
    line = (tmp_path / "proc/cmdline").read_text()
    assert line == "BOOT_IMAGE=/boot/vmlinuz-6 root=LABEL=HIVE ro pci=noaer\n"
    cpuinfo = (tmp_path / "proc/cpuinfo").read_text()
    assert cpuinfo.count("AMD Ryzen 5 1600") == 12
    assert len({row for row in cpuinfo.splitlines() if row.startswith("core id")}) == 6


def test_energy_counter_continues_over_changes(seed: Hardware, tmp_path: Path) -> None:
    file, gpu = tmp_path / "control", seed.gpus("x1")[0]
    file.write_text("0 since_ms 1\n0 power 1000\n0 energy_mj 5\n0 reasons 64\n0 throttled_ms 7\n")
    control.write_control(file, [control.describe(gpu, "rig")], {"mismatch": 1})
    rows = control.read_control(file)
    assert int(rows["0"]["energy_mj"]) > 5
    assert int(rows["0"]["throttled_ms"]) > 7
    assert rows["0"]["capped_ms"] == "0"
    assert rows["-"] == {"mismatch": "1"}

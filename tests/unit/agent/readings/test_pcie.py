"""Reading GPUs and the links above them."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.readings.pcie import Aer, PcieBar, PcieLink, find_least, read_bars, read_gpus
from tests.unit.facts.pcie_tree import device, gpu_on_a_riser


def test_missing_sysfs_gives_no_gpus(tmp_path: Path) -> None:
    assert read_gpus(str(tmp_path)) == []


def test_gpu_and_its_root_port_are_read(tmp_path: Path) -> None:
    gpu_on_a_riser(tmp_path, subsystem="1462:3884", numa_node=0)
    (gpu,) = read_gpus(str(tmp_path))
    assert (gpu.address, gpu.vendor_id, gpu.device_id) == ("0000:03:00.0", "10de", "2204")
    assert (gpu.subsystem_vendor_id, gpu.subsystem_id, gpu.revision) == ("1462", "3884", "a1")
    assert gpu.driver == "nvidia"
    assert gpu.numa_node == 0
    assert [port.kind for port in gpu.path] == ["root port", "endpoint"]
    assert gpu.root_port == "0000:00:1c.0"
    assert gpu.path[-1].link == PcieLink(1, 16, 2.5, 16.0)
    assert gpu.path_width == 1
    assert gpu.path_max_width == 1
    assert gpu.path_speed_gts == 2.5
    assert gpu.path_speed_max_gts == 8.0
    assert gpu.answers
    assert gpu.path[-1].aer is None


def test_narrowest_link_above_a_switch_limits_the_path(tmp_path: Path) -> None:
    full = (16, 16, "8.0 GT/s PCIe", "8.0 GT/s PCIe")
    device(tmp_path, "0000:00:01.0", link=(4, 16, "8.0 GT/s PCIe", "8.0 GT/s PCIe"))
    device(tmp_path, "0000:00:01.0 0000:01:00.0", ids="10b5:8747", link=(4, 16, *full[2:]))
    for slot, bus in (("08", "03"), ("10", "04")):
        port = f"0000:00:01.0 0000:01:00.0 0000:02:{slot}.0"
        device(tmp_path, port, ids="10b5:8747", link=full)
        device(tmp_path, f"{port} 0000:{bus}:00.0", "3d", ids="10de:2204", link=full)
        device(tmp_path, f"{port} 0000:{bus}:00.1", "audio", ids="10de:1aef", link=full)
    gpus = read_gpus(str(tmp_path))
    assert [gpu.address for gpu in gpus] == ["0000:03:00.0", "0000:04:00.0"]
    kinds = ["root port", "upstream port", "downstream port", "endpoint"]
    assert [port.kind for port in gpus[0].path] == kinds
    assert [port.kind for port in gpus[1].path] == kinds
    assert gpus[0].path_width == 4
    assert gpus[0].path_max_width == 16
    assert gpus[0].root_port == gpus[1].root_port == "0000:00:01.0"


def test_an_integrated_gpu_has_no_root_port_and_no_width(tmp_path: Path) -> None:
    device(tmp_path, "0000:00:02.0", "vga", ids="8086:3e92", driver="i915")
    gpu_on_a_riser(tmp_path)
    assert [gpu.vendor_id for gpu in read_gpus(str(tmp_path))] == ["10de"]
    (integrated,) = read_gpus(str(tmp_path), vendors=("8086",))
    assert integrated.root_port is None
    assert integrated.path_width is None
    assert len(read_gpus(str(tmp_path), vendors=None)) == 2


def test_gpu_without_a_driver_has_no_driver_name(tmp_path: Path) -> None:
    gpu_on_a_riser(tmp_path, driver=None)
    assert read_gpus(str(tmp_path))[0].driver is None


def test_a_gpu_that_fell_off_the_bus_does_not_answer(tmp_path: Path) -> None:
    gpu_on_a_riser(tmp_path, link=(63, 63, "Unknown", "Unknown speed"))
    (gpu,) = read_gpus(str(tmp_path))
    assert not gpu.answers
    assert gpu.path[-1].link == PcieLink()
    assert gpu.path_width == 1, "the root port still tells its side"


@pytest.mark.parametrize("link", [(0, "", "Unknown speed", "x"), ("garbage", 3, "GT/s", "8 GT/s")])
def test_invalid_values_are_unknown(tmp_path: Path, link: tuple[object, ...]) -> None:
    gpu_on_a_riser(tmp_path, link=link, numa_node="none", vendor="0x10de")
    (gpu,) = read_gpus(str(tmp_path))
    card_link = gpu.path[-1].link
    assert (card_link.current_width, card_link.max_width, card_link.current_speed_gts) == (
        None,
        None,
        None,
    )
    assert gpu.numa_node is None
    assert gpu.answers


def test_bridge_without_a_link_is_not_a_root_port(tmp_path: Path) -> None:
    device(tmp_path, "0000:00:1e.0")
    device(tmp_path, "0000:00:1e.0 0000:01:00.0", "vga", ids="10de:2204")
    (gpu,) = read_gpus(str(tmp_path))
    assert [port.kind for port in gpu.path] == ["bridge", "endpoint"]
    assert gpu.root_port is None


def test_errors_are_counted_at_every_port(tmp_path: Path) -> None:
    gpu_on_a_riser(
        tmp_path,
        aer_dev_correctable="RxErr 12\nBadTLP 3\nBadDLLP 0\nTOTAL_ERR_COR 15",
        aer_dev_nonfatal="Undefined 0\nTOTAL_ERR_NONFATAL 0",
        aer_dev_fatal="nonsense",
    )
    (gpu,) = read_gpus(str(tmp_path), aer=True)
    assert gpu.path[0].aer is None
    assert gpu.path[1].aer == Aer(
        correctable={"RxErr": 12, "BadTLP": 3, "BadDLLP": 0, "TOTAL_ERR_COR": 15},
        nonfatal={"Undefined": 0, "TOTAL_ERR_NONFATAL": 0},
        fatal={},
    )


def test_gpus_are_sorted_by_numeric_domain(tmp_path: Path) -> None:
    device(tmp_path, "10000:01:00.0", "vga", ids="10de:2204")
    device(tmp_path, "0000:02:00.0", "vga", ids="10de:2204")
    addresses = [gpu.address for gpu in read_gpus(str(tmp_path))]
    assert addresses == ["0000:02:00.0", "10000:01:00.0"]


def test_least_of_unknown_values_is_unknown() -> None:
    assert find_least([None, None]) is None
    assert find_least([16, None, 4]) == 4


def test_only_memory_bars_are_read(tmp_path: Path) -> None:
    """Not counted: I/O ports, empty halves of 64-bit BARs, and the ROM."""
    (tmp_path / "resource").write_text(
        "0x00000000f6000000 0x00000000f6ffffff 0x0000000000040200\n"
        "0x0000001000000000 0x00000017ffffffff 0x000000000014220c\n"
        "0x0000000000000000 0x0000000000000000 0x0000000000000000\n"
        "0x0000001800000000 0x0000001801ffffff 0x000000000014220c\n"
        "0x0000000000000000 0x0000000000000000 0x0000000000000000\n"
        "0x000000000000e000 0x000000000000e07f 0x0000000000040101\n"
        "0x00000000f7000000 0x00000000f707ffff 0x0000000000046200\n"
    )
    (tmp_path / "resource1_resize").write_text("000000000000fe00\n")  # 512 MiB to 32 GiB
    assert read_bars(str(tmp_path)) == (
        PcieBar(0, 0xF6000000, 16 << 20),
        PcieBar(1, 0x1000000000, 32 << 30, 32 << 30),
        PcieBar(3, 0x1800000000, 32 << 20),
    )
    assert read_bars(str(tmp_path / "none")) == ()

"""Links that are read repeatedly: changed links, lost devices, and new devices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.readings import links, pcie, rates
from agent.readings.links import LinkReader, PortReading, build_path
from tests.unit.facts.pcie_tree import device, gpu_on_a_riser

ROOT, GPU = "0000:00:1c.0", "0000:03:00.0"
IDLE, FULL = "2.5 GT/s PCIe", "8.0 GT/s PCIe"


def write(sysfs: Path, address: str, **files: Any) -> None:
    for name, value in files.items():
        (sysfs / "bus/pci/devices" / address / name).write_text(f"{value}\n")


def train(sysfs: Path, width: int | str, speed: str = IDLE) -> None:
    """Set both ends of the riser's link."""
    for address in (ROOT, GPU):
        write(sysfs, address, current_link_width=width, current_link_speed=speed)


def ports(reader: LinkReader, *under_load: str) -> dict[str, PortReading]:
    return {port.address: port for port in reader.read(under_load)[1]}


@pytest.fixture
def riser(tmp_path: Path) -> Path:
    gpu_on_a_riser(tmp_path)
    train(tmp_path, 4)
    return tmp_path


def test_path_is_read_in_base_units(riser: Path) -> None:
    reader = LinkReader(str(riser))
    (gpu,), port_readings = reader.read()
    assert [(port.address, port.parent, port.kind) for port in port_readings] == [
        (ROOT, "", "root port"),
        (GPU, ROOT, "endpoint"),
    ]
    path = build_path(gpu, {port.address: port for port in port_readings})
    assert (path.address, path.devices, path.device_id) == (GPU, (ROOT, GPU), "2204")
    assert (path.width, path.max_width, path.speed, path.max_speed) == (4, 1, 2.5e9, 8e9)
    assert path.bandwidth == pytest.approx(4 * 8e9 / 8 * 128 / 130)


@pytest.mark.parametrize(
    ("width", "speed", "wanted"),
    [
        (1, 2.5e9, 0.25e9),
        (4, 5e9, 2e9),
        (1, 8e9, 0.98462e9),
        (16, 16e9, 31.508e9),
        (4, 32e9, 15.754e9),
        (1, 64e9, 7.5625e9),
        (None, 8e9, None),
        (4, None, None),
        (0, 8e9, None),
    ],
)
def test_bandwidth_excludes_the_encoding(
    width: int | None, speed: float | None, wanted: float | None
) -> None:
    bandwidth = rates.bandwidth(width, speed)
    assert bandwidth == (None if wanted is None else pytest.approx(wanted, rel=1e-4))


def test_width_change_is_counted_at_both_ends_also_at_idle(riser: Path) -> None:
    reader = LinkReader(str(riser))
    counts = []
    for width in (4, 4, 1, 1, 4):
        train(riser, width)
        by_address = ports(reader)
        counts.append((by_address[ROOT].changes, by_address[GPU].changes))
    assert counts == [(0, 0), (0, 0), (1, 1), (1, 1), (2, 2)]


@pytest.mark.parametrize(
    ("steps", "changes"),
    [
        ([(FULL, False), (IDLE, False), (FULL, False)], 0),  # power saving
        ([(IDLE, False), (FULL, True), (FULL, True)], 0),  # work begins
        ([(FULL, True), (FULL, True), (IDLE, False)], 0),  # and ends
        ([(FULL, True), (IDLE, True), (FULL, True)], 2),  # it trained again under load
        ([(FULL, True), (IDLE, False), (IDLE, True)], 0),
    ],
)
def test_speed_change_is_counted_only_under_load(
    steps: list[tuple[str, bool]], changes: int, riser: Path
) -> None:
    reader = LinkReader(str(riser))
    by_address = {}
    for speed, load in steps:
        train(riser, 4, speed)
        by_address = ports(reader, *([GPU] if load else []))
    assert (by_address[ROOT].changes, by_address[GPU].changes) == (changes, changes)


def test_lost_device_is_unknown_until_it_returns(riser: Path) -> None:
    reader = LinkReader(str(riser))
    ports(reader)
    write(riser, GPU, current_link_width=pcie.ALL_ONES_WIDTH, current_link_speed="Unknown")
    (gpu,), listed = reader.read()
    by_address = {port.address: port for port in listed}
    assert (by_address[GPU].answers, by_address[ROOT].answers) == (False, True)
    assert (by_address[GPU].current_width, by_address[GPU].current_speed) == (None, None)
    assert by_address[GPU].changes == 0
    path = build_path(gpu, by_address)
    assert (path.width, path.speed, path.bandwidth) == (None, None, None)
    assert (path.max_width, path.max_speed) == (1, 8e9)
    write(riser, GPU, current_link_width=4, current_link_speed=IDLE)
    assert (ports(reader)[GPU].answers, ports(reader)[GPU].changes) == (True, 0)
    write(riser, GPU, current_link_width=pcie.ALL_ONES_WIDTH)
    ports(reader)
    write(riser, GPU, current_link_width=1)
    assert ports(reader)[GPU].changes == 1, "narrower than before it was lost"


def add_second(sysfs: Path) -> str:
    link = (1, 1, FULL, FULL)
    device(sysfs, "0000:00:1c.4", ids="8086:a2e7", link=link)
    device(sysfs, "0000:00:1c.4 0000:06:00.0", "vga", "10de:2204", (1, 16, IDLE, "16.0 GT/s PCIe"))
    return "0000:06:00.0"


def test_hotplug_is_detected_in_the_next_sample(riser: Path) -> None:
    reader = LinkReader(str(riser))
    assert [gpu.address for gpu in reader.read()[0]] == [GPU]
    second = add_second(riser)
    assert [gpu.address for gpu in reader.read()[0]] == [GPU, second]
    (riser / "bus/pci/devices" / GPU).unlink()
    gpus, port_readings = reader.read()
    assert [gpu.address for gpu in gpus] == [second]
    assert [port.address for port in port_readings] == ["0000:00:1c.4", second]


def test_pci_tree_is_listed_again_only_after_a_change_or_some_samples(
    riser: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = []
    original = pcie.read_gpus
    monkeypatch.setattr(pcie, "read_gpus", lambda sysfs: times.append(1) or original(sysfs))  # type: ignore[func-returns-value]
    reader = LinkReader(str(riser))
    for _ in range(links.LIST_AGAIN_SAMPLES):
        reader.read()
    assert len(times) == 1
    reader.read()
    assert len(times) == 2
    add_second(riser)
    reader.read()
    assert len(times) == 3


def test_shared_ports_are_read_once_and_under_load_with_either_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = (16, 16, FULL, FULL)
    root, switch = "0000:00:01.0", "0000:01:00.0"
    device(tmp_path, root, link=full)
    device(tmp_path, f"{root} {switch}", ids="10b5:8747", link=full)
    for slot, bus in (("08", "03"), ("10", "04")):
        port = f"{root} {switch} 0000:02:{slot}.0"
        device(tmp_path, port, ids="10b5:8747", link=full)
        device(tmp_path, f"{port} 0000:{bus}:00.0", "3d", ids="10de:2204", link=full)
    reader = LinkReader(str(tmp_path))
    read: list[str] = []
    original = pcie.read_aer
    monkeypatch.setattr(pcie, "read_aer", lambda folder: read.append(folder) or original(folder))  # type: ignore[func-returns-value]
    gpus, listed = reader.read(["0000:04:00.0"])
    assert len(read) == len(set(read)) == 6
    addresses = [port.address for port in listed]
    assert len(gpus) == 2
    assert sorted(addresses) == sorted(set(addresses))
    assert len(addresses) == 6
    for address in (root, "0000:03:00.0"):
        write(tmp_path, address, current_link_speed=IDLE)
    by_address = ports(reader, "0000:04:00.0")
    assert by_address[root].changes == 1, "the GPU at work uses it"
    assert by_address["0000:03:00.0"].changes == 0, "the other is at idle"
    assert by_address["0000:02:10.0"].parent == by_address["0000:02:08.0"].parent == switch


def test_error_sum_excludes_the_total_line_of_the_kernel(riser: Path) -> None:
    reader = LinkReader(str(riser))
    assert ports(reader)[GPU].aer is None
    write(riser, GPU, aer_dev_correctable="RxErr 2\nBadTLP 3\nTOTAL_ERR_COR 5")
    write(riser, GPU, aer_dev_nonfatal="Undefined 0\nDLP 1", aer_dev_fatal="TOTAL_ERR_FATAL 9")
    assert ports(reader)[GPU].aer == {"correctable": 5, "nonfatal": 1, "fatal": 0}
    write(riser, GPU, aer_dev_correctable="RxErr 2\nBadTLP 4\nTOTAL_ERR_COR 6")
    assert ports(reader)[GPU].aer == {"correctable": 6, "nonfatal": 1, "fatal": 0}
    assert ports(reader)[ROOT].aer is None


def test_error_sum_is_recomputed_only_after_a_change(
    riser: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    summed: list[pcie.Aer] = []
    original: property = vars(pcie.Aer)["totals"]

    def totals(aer: pcie.Aer) -> dict[str, int]:
        summed.append(aer)
        return dict(original.__get__(aer))

    monkeypatch.setattr(pcie.Aer, "totals", property(totals))
    for name in ("correctable", "nonfatal", "fatal"):
        write(riser, GPU, **{f"aer_dev_{name}": "RxErr 1"})
    reader = LinkReader(str(riser))
    for count, times in ((1, 1), (1, 1), (2, 2), (2, 2), (1, 3)):
        write(riser, GPU, aer_dev_fatal=f"RxErr {count}")
        assert ports(reader)[GPU].aer == {"correctable": 1, "nonfatal": 1, "fatal": count}
        assert len(summed) == times
    for name in ("correctable", "nonfatal", "fatal"):
        (riser / "bus/pci/devices" / GPU / f"aer_dev_{name}").unlink()
    assert ports(reader)[GPU].aer is None, "counters that the kernel stopped have no value"


def test_missing_bus_gives_no_gpus(tmp_path: Path) -> None:
    assert LinkReader(str(tmp_path)).read() == ([], ())

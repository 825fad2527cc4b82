"""The table of faults, and the inventory: on a rig that never boots."""

from __future__ import annotations

import socket
import stat
from pathlib import Path

import pytest
import yaml

from lab.errors import LabError
from lab.rigs import inventory, machine
from lab.rigs.machine import Rig
from lab.simulate import control, faults, sysfs


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rig:
    """A rig with hardware and without a disk."""
    monkeypatch.setenv("DEEPRIG_LAB_STATE", str(tmp_path))
    monkeypatch.setenv("DEEPRIG_LAB_NETWORK", "0")
    rig = Rig("rig3")
    rig.hardware_folder.mkdir(parents=True)
    rig.set(hardware="seed", repository="")
    sysfs.write_sys(
        rig.hardware_folder / "sys", rig.hardware, "x1", rig.gpus(), interface="eth0", aer=True
    )
    faults.apply(rig)
    return rig


def rows(rig: Rig, gpu: int = 0) -> dict[str, str]:
    return control.read_control(rig.hardware_folder / "control")[str(gpu)]


def link(rig: Rig, address: str) -> tuple[str, str]:
    device = rig.hardware_folder / "sys/bus/pci/devices" / address
    speed, width = (device / f"current_link_{what}" for what in ("speed", "width"))
    return speed.read_text().strip(), width.read_text().strip()


def test_every_fault_has_a_description() -> None:
    for name, fault in faults.TABLE.items():
        assert fault.text
        assert fault.gpu == fault.argument.startswith("GPU"), name


@pytest.mark.parametrize("name", [name for name, fault in faults.TABLE.items() if fault.gpu])
def test_every_gpu_fault_can_be_switched_on_and_off(rig: Rig, name: str) -> None:
    healthy = {key: row for key, row in rows(rig, 1).items() if not key.endswith(("_ms", "_mj"))}
    faults.switch(rig, name, on=True, argument="1")
    assert faults.is_on(rig, name)
    assert faults.describe(rig)[0].startswith(f"{name} gpu 1")
    faults.switch(rig, name, on=False, argument="1")
    after = {key: row for key, row in rows(rig, 1).items() if not key.endswith(("_ms", "_mj"))}
    assert after | {"xids": "0", "xid": "0"} == healthy
    assert not faults.read(rig)


@pytest.mark.parametrize("name", [name for name, fault in faults.TABLE.items() if not fault.gpu])
def test_every_rig_fault_can_be_switched_on_and_off(rig: Rig, name: str) -> None:
    faults.switch(rig, name, on=True)
    flag = rig.hardware_folder / "faults" / name
    assert flag.read_text().strip() == faults.TABLE[name].default
    faults.switch(rig, name, on=False)
    assert not flag.exists()


def test_load_raises_the_link_speed(rig: Rig) -> None:
    assert link(rig, "0000:08:00.0") == ("2.5 GT/s PCIe", "1")
    faults.switch(rig, "load", on=True, argument="2")
    assert link(rig, "0000:08:00.0") == ("8.0 GT/s PCIe", "1")
    assert link(rig, "0000:00:03.1") == ("8.0 GT/s PCIe", "1")
    assert rows(rig, 2)["pstate"] == "2"


def test_errors_are_counted_at_both_ends(rig: Rig) -> None:
    faults.switch(rig, "aer", on=True, argument="2:40 fatal")
    for address in ("0000:08:00.0", "0000:00:03.1"):
        file = rig.hardware_folder / "sys/bus/pci/devices" / address / "aer_dev_fatal"
        assert file.read_text().splitlines()[-1] == "TOTAL_ERR_FATAL 40"


def test_repeated_xid_is_a_new_event(rig: Rig) -> None:
    for _ in range(2):
        faults.switch(rig, "xid", on=True, argument="0 31")
    assert (rows(rig)["xid"], rows(rig)["xids"]) == ("31", "2")


def test_xid_keeps_its_code_when_the_fault_is_off(rig: Rig) -> None:
    """The agent may read the event only then."""
    faults.switch(rig, "xid", on=True, argument="0 31")
    faults.switch(rig, "xid", on=False, argument="0")
    assert (rows(rig)["xid"], rows(rig)["xids"]) == ("31", "1")


def test_invalid_arguments_are_errors_with_advice(rig: Rig) -> None:
    with pytest.raises(LabError, match="There is: lost, hang"):
        faults.switch(rig, "lots", on=True)
    with pytest.raises(LabError, match="Name it first: 0 to 2"):
        faults.switch(rig, "lost", on=True, argument="7")
    with pytest.raises(LabError, match="fab lab"):
        rig.enter()
    with pytest.raises(LabError, match="There is: rig3"):
        machine.find("rig4")


def sign_repository(rig: Rig, folder: Path) -> None:
    (folder / "fingerprint").write_text("AB" * 20 + "\n")
    rig.set(repository=str(folder))


def test_rig_avoids_the_port_of_the_machines_sshd(rig: Rig, tmp_path: Path) -> None:
    with socket.create_server(("0.0.0.0", 0)) as listening:
        port = listening.getsockname()[1]
        assert not machine.is_free("127.0.77.3", port)
    assert machine.is_free("127.0.77.3", port)
    sign_repository(rig, tmp_path)
    assert "ansible_port" not in str(inventory.describe([rig], tmp_path))
    rig.set(port=2222)
    assert "'ansible_port': 2222" in str(inventory.describe([rig], tmp_path))


def test_inventory_has_the_ansible_format_and_is_private(rig: Rig, tmp_path: Path) -> None:
    file = tmp_path / "inventory/lab.yml"
    sign_repository(rig, tmp_path)
    inventory.write([rig], tmp_path / "known_hosts", file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    host = yaml.safe_load(file.read_text())["rigs"]["hosts"]["rig3"]
    assert host["ansible_host"] == "127.0.77.3"
    assert host["ansible_user"] == "user"
    assert host["torch_requirement"] == "torch==2.13.0"
    assert host["nvidia_repository_key_fingerprint"] == "AB" * 20

"""Signs of hard use: each is found, and a healthy card has none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agent.readings.pcie import Aer, PcieGpu, PcieLink, PciePort
from provision import hardware
from provision.assess import wear
from provision.assess.finding import Finding
from provision.assess.nvidia_smi import Smi
from provision.inventory import yaml_source

ADDRESS = "0000:08:00.0"
HEALTHY = Smi(
    ADDRESS,
    "RTX 3090",
    "94.02.42.00.05",
    celsius=35,
    fan=0,
    busy=0,
    power_limit=350,
    power_default=350,
    remapped=0,
    uncorrectable=0,
)
LOG = "NVRM: Xid (PCI:0000:08:00): {}, pid=1\n"


def gpu(port_aer: Aer | None = None, card_aer: Aer | None = None, **rest: Any) -> PcieGpu:
    port = PciePort(
        "0000:00:03.1", "root port", "1022", "1453", PcieLink(4, 4, 2.5, 8.0), aer=port_aer
    )
    card = PciePort(
        ADDRESS, "endpoint", "10de", "2204", PcieLink(4, 16, 2.5, 16.0), aer=card_aer, **rest
    )
    return PcieGpu(ADDRESS, "10de", "2204", "10de", "147d", "a1", "nvidia", None, (port, card))


def find_signs(
    gpus: list[PcieGpu], smis: list[Smi], messages: str = "boot\n", generation: str = "ampere"
) -> dict[str, Finding]:
    """Return the first finding of each check."""
    findings = wear.find_wear_signs(gpus, smis, messages, {ADDRESS: generation})
    return {finding.check: finding for finding in reversed(findings)}


COUNTED = gpu(Aer(), Aer())


def test_healthy_card_has_no_signs_of_wear() -> None:
    assert {finding.status for finding in find_signs([COUNTED], [HEALTHY]).values()} == {"ok"}


@pytest.mark.parametrize(
    ("changes", "check", "status", "words"),
    [
        ({"remapped": 3}, "memory", "note", "3 rows remapped"),
        ({"remapped": 3, "uncorrectable": 1}, "memory", "warning", "3 rows remapped"),
        ({"remapped": 8, "failed": True}, "memory", "critical", "8 rows remapped"),
        ({"remapped": None, "retired": 4, "pending": True}, "memory", "warning", "the next reset"),
        ({"remapped": None}, "memory", "unknown", "keeps no count"),
        ({"vbios": "86.02.39.00.22"}, "VBIOS", "critical", "pascal"),
        ({"vbios": ""}, "VBIOS", "unknown", "not reported"),
        ({"vbios": "77.01"}, "VBIOS", "unknown", "77.01"),
        ({"celsius": 64.0}, "heat", "critical", "fans do not turn"),
        ({"celsius": 64.0, "fan": 40}, "heat", "warning", "64 °C idle"),
        ({"celsius": 70.0, "fan": 60, "busy": 99}, "heat", "ok", "70 °C at work"),
        ({"celsius": 84.0, "fan": 90, "busy": 99}, "heat", "warning", "84 °C at work"),
        ({"memory_celsius": 104.0, "fan": 90, "busy": 99}, "heat", "warning", "memory 104 °C"),
        ({"power_limit": 250.0}, "power limit", "note", "250 W, by default 350 W"),
    ],
)
def test_readings_of_the_driver_are_judged(
    changes: dict[str, Any], check: str, status: str, words: str
) -> None:
    finding = find_signs([COUNTED], [replace(HEALTHY, **changes)])[check]
    assert finding.status == status
    assert words in finding.reading


@pytest.mark.parametrize(
    ("card", "status", "words"),
    [
        (gpu(Aer(correctable={"BadTLP": 7}), Aer()), "warning", "7 correctable at 0000:00:03.1"),
        (gpu(Aer(), Aer(nonfatal={"CmpltTO": 2})), "critical", "2 nonfatal"),
        (gpu(), "unknown", "counts none"),
    ],
)
def test_pcie_errors_of_the_whole_path_count(card: PcieGpu, status: str, words: str) -> None:
    finding = find_signs([card], [HEALTHY])["PCIe errors"]
    assert finding.status == status
    assert words in finding.reading


@pytest.mark.parametrize(
    ("number", "status"), [(79, "critical"), (13, "warning"), (999, "warning")]
)
def test_xids_are_judged_by_the_table(number: int, status: str) -> None:
    finding = find_signs([COUNTED], [HEALTHY], LOG.format(number) * 2)["Xid errors"]
    assert (finding.subject, finding.status) == (ADDRESS, status)
    assert f"Xid {number}" in finding.reading
    assert "2 in the kernel's log" in finding.reading


def test_unreadable_kernel_log_is_unknown() -> None:
    assert find_signs([COUNTED], [HEALTHY], "")["Xid errors"].status == "unknown"


def test_missing_cards_are_critical() -> None:
    assert find_signs([gpu(answers=False)], [HEALTHY])["on the bus"].status == "critical"
    other = replace(HEALTHY, address="0000:09:00.0")
    assert find_signs([COUNTED], [other])["driver"].status == "critical"
    assert find_signs([COUNTED], [])["driver"].status == "unknown"


def test_different_vbios_of_one_card_is_noted() -> None:
    other = replace(HEALTHY, address="0000:09:00.0", vbios="94.02.26.00.aa")
    findings = wear.find_wear_signs([COUNTED], [HEALTHY, other], "boot\n", {})
    (finding,) = [finding for finding in findings if finding.subject == "RTX 3090"]
    assert finding.status == "note"


def test_every_generation_of_the_table_has_a_vbios() -> None:
    """Every VBIOS has a generation of the table, and the reverse."""
    vbios = yaml_source.load_yaml(wear.HERE / "vbios.yml")["generations"].values()
    generations = yaml_source.load_yaml(hardware.FOLDER / "gpus.yml")["gpu_generations"]
    assert {name for names in vbios for name in names} == set(generations)

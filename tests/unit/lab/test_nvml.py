"""The lab's NVML, compiled and loaded by the real pynvml, in a process for each question."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from lab.simulate import pcie
from lab.simulate.control import HW_THERMAL
from lab.simulate.hardware import LabLink
from lab.simulate.simulated_rig import NVRM, VERSION, SimulatedRig, build

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not shutil.which("gcc"), reason="no gcc")]
MISMATCH = "RM has detected an NVML/RM version mismatch."  # pynvml has its own words


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("nvml"))


class Cards(SimulatedRig):
    """Three simulated cards, and the programs that ask about them."""

    def ask(self, expression: str, **more: Any) -> Any:
        """Evaluate an expression over `n` (pynvml) and `g` (the handles, or an error's text)."""
        program = textwrap.dedent(f"""
            import json, pynvml as n
            def handle(i):
                try:
                    return n.nvmlDeviceGetHandleByIndex(i)
                except n.NVMLError as error:
                    return str(error)
            try:
                n.nvmlInit()
                g = [handle(i) for i in range(n.nvmlDeviceGetCount())]
                answer = {expression}
            except n.NVMLError as error:
                answer = str(error)
            print(json.dumps(answer))
        """)
        done = subprocess.run(
            [sys.executable, "-c", program],
            env=self.environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=20,
            **more,
        )
        return json.loads(done.stdout)

    def smi(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.library / "nvidia-smi", *words],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def cards(tmp_path: Path, library: Path) -> Cards:
    return Cards(tmp_path, library)


@pytest.mark.parametrize(
    ("expression", "answer"),
    [
        ("n.nvmlSystemGetDriverVersion()", VERSION),
        ("n.nvmlSystemGetCudaDriverVersion()", 13000),
        ("len(g)", 3),
        ("n.nvmlDeviceGetName(g[0])", "NVIDIA GeForce RTX 3090"),
        ("n.nvmlDeviceGetPciInfo(g[2]).busId", "00000000:08:00.0"),
        ("hex(n.nvmlDeviceGetPciInfo(g[2]).pciDeviceId)", "0x220410de"),
        ("n.nvmlDeviceGetIndex(n.nvmlDeviceGetHandleByPciBusId('0000:06:00.0'))", 1),
        ("n.nvmlDeviceGetIndex(n.nvmlDeviceGetHandleByUUID(n.nvmlDeviceGetUUID(g[2])))", 2),
        ("n.nvmlDeviceGetMemoryInfo(g[0]).total >> 20", 24576),
        ("n.nvmlDeviceGetMemoryInfo(g[0], version=n.nvmlMemory_v2).reserved >> 20", 320),
        ("n.nvmlDeviceGetTemperatureV(g[1], 0)", 35),
        ("n.nvmlDeviceGetTemperature(g[1], 0)", 35),
        ("n.nvmlDeviceGetTemperatureThreshold(g[0], n.NVML_TEMPERATURE_THRESHOLD_GPU_MAX)", 93),
        ("n.nvmlDeviceGetPowerManagementLimitConstraints(g[0])", [100000, 365000]),
        ("n.nvmlDeviceGetEnforcedPowerLimit(g[0])", 350000),
        ("n.nvmlDeviceGetPerformanceState(g[0])", 8),
        ("n.nvmlDeviceGetClockInfo(g[0], n.NVML_CLOCK_MEM)", 405),
        ("n.nvmlDeviceGetUtilizationRates(g[0]).gpu", 0),
        ("n.nvmlDeviceGetNumFans(g[0])", 2),
        ("n.nvmlDeviceGetFanSpeed_v2(g[0], 2)", "Invalid Argument"),
        ("n.nvmlDeviceGetCudaComputeCapability(g[0])", [8, 6]),
        ("n.nvmlDeviceGetCurrPcieLinkWidth(g[2])", 1),
        ("n.nvmlDeviceGetCurrPcieLinkGeneration(g[2])", 1),
        ("n.nvmlDeviceGetMaxPcieLinkGeneration(g[2])", 3),
        ("n.nvmlDeviceGetMaxPcieLinkGeneration(g[0])", 2),
        ("n.nvmlDeviceGetGpuMaxPcieLinkGeneration(g[2])", 4),
        ("n.nvmlDeviceGetPcieReplayCounter(g[0])", 0),
        ("n.nvmlDeviceGetPcieThroughput(g[0], 0)", 0),
        ("n.nvmlDeviceGetTopologyCommonAncestor(g[0], g[1])", 10),
        ("n.nvmlDeviceGetTopologyCommonAncestor(g[0], g[2])", 30),
        ("n.nvmlDeviceGetP2PStatus(g[0], g[1], 0)", 1),
        ("n.nvmlDeviceGetNvLinkState(g[0], 0)", 0),
        ("n.nvmlDeviceGetTotalEccErrors(g[0], 0, 0)", "Not Supported"),
        ("n.nvmlDeviceGetRemappedRows(g[0])", "Not Supported"),
        ("n.nvmlDeviceGetCurrentClocksEventReasons(g[0])", 1),
        ("n.nvmlDeviceGetComputeRunningProcesses(g[0])", []),
        (
            "[(v.nvmlReturn, v.valueType)"
            " for v in n.nvmlDeviceGetFieldValues(g[0], [82, 94, 197])]",
            [[3, 3], [0, 1], [0, 3]],
        ),
        ("n.nvmlDeviceGetTotalEnergyConsumption(g[0]) >= 0", True),
    ],
)
def test_healthy_card_answers(cards: Cards, expression: str, answer: Any) -> None:
    assert cards.ask(expression) == answer


def test_lost_gpu_does_not_affect_the_others(cards: Cards) -> None:
    cards.set(1, lost=1)
    assert cards.ask("[x if isinstance(x, str) else 'there' for x in g]") == [
        "there",
        "GPU is lost",
        "there",
    ]


def test_missing_and_mismatched_driver_are_errors(cards: Cards) -> None:
    version = cards.version_file
    version.write_text(NVRM.replace(VERSION, "580.82.07"))
    assert cards.ask("0") == MISMATCH
    done = cards.smi("-L")
    assert (done.returncode, done.stdout.splitlines()[0]) == (
        18,
        "Failed to initialize NVML: Driver/library version mismatch",
    )
    version.unlink()
    assert cards.ask("0") == "Driver Not Loaded"
    done = cards.smi()
    assert done.returncode == 9
    assert "couldn't communicate with the NVIDIA driver" in done.stdout


def test_mismatch_fault_is_a_version_mismatch(cards: Cards) -> None:
    cards.set_rig(mismatch=1)
    assert cards.ask("0") == MISMATCH


def test_hang_lasts_until_the_fault_is_off(cards: Cards) -> None:
    cards.set(2, hang=1)
    with subprocess.Popen([cards.library / "nvidia-smi", "-L"], env=cards.environment) as child:
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(timeout=0.5)
        cards.set()
        assert child.wait(timeout=5) == 0


def test_xid_is_delivered_as_an_event(cards: Cards) -> None:
    cards.set(0, xid=79, xids=4)
    file = str(cards.folder / "control")
    happen = f"open({file!r}, 'a').write('0 xids 5\\n')"
    wait = "n.nvmlEventSetWait(s, 200)"
    ask = "(lambda s: (n.nvmlDeviceRegisterEvents(g[0], 8, s), {})[-1])(n.nvmlEventSetCreate())"
    assert cards.ask(ask.format(f"{happen}, {wait}.eventData")) == 79
    assert cards.ask(ask.format(wait)) == "Timeout"


def test_heat_throttling_is_reported_and_accumulates(cards: Cards) -> None:
    cards.set(0, reasons=HW_THERMAL, celsius=93)
    assert cards.ask("n.nvmlDeviceGetCurrentClocksEventReasons(g[0])") == HW_THERMAL
    assert cards.ask("n.nvmlDeviceGetViolationStatus(g[0], 1).violationTime") > 0
    assert cards.ask("n.nvmlDeviceGetFieldValues(g[0], [270])[0].value.ullVal") > 0


def test_link_matches_sysfs(cards: Cards) -> None:
    pcie.set_link(cards.folder / "sys", "0000:08:00.0", LabLink(3, 4))
    assert cards.ask("n.nvmlDeviceGetCurrPcieLinkWidth(g[2])") == 4
    assert cards.ask("n.nvmlDeviceGetCurrPcieLinkGeneration(g[2])") == 3


def test_smi_query_prints_csv(cards: Cards) -> None:
    fields = "index,pci.bus_id,memory.total,power.limit,pcie.link.gen.max"
    done = cards.smi(f"--query-gpu={fields}", "--format=csv")
    assert done.stdout.splitlines()[:2] == [
        "index, pci.bus_id, memory.total [MiB], power.limit [W], pcie.link.gen.max",
        "0, 00000000:04:00.0, 24576 MiB, 350.00 W, 2",
    ]
    plain = cards.smi("--query-gpu=power.limit", "--format=csv,noheader,nounits", "-i", "1")
    assert plain.stdout == "350.00\n"
    assert cards.smi("--query-gpu=colour", "--format=csv").returncode == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may set a power limit")
def test_power_limit_is_checked_and_set(cards: Cards) -> None:
    done = cards.smi("-pl", "500")
    assert done.returncode == 2
    assert "should be between 100.00 W and 365.00 W" in done.stdout
    assert cards.smi("-i", "1", "-pl", "280").returncode == 0
    limits = "[n.nvmlDeviceGetPowerManagementLimit(x) for x in g]"
    assert cards.ask(limits) == [350000, 280000, 350000]
    assert cards.smi("-pm", "1").returncode == 0
    assert cards.ask("n.nvmlDeviceGetPersistenceMode(g[2])") == 1


def test_settings_of_several_processes_are_all_kept(cards: Cards) -> None:
    # nvidia-persistenced and the unit of the power limits both run at boot.
    for _ in range(20):
        (cards.folder / "settings").unlink(missing_ok=True)
        with ThreadPoolExecutor(4) as pool:
            asked = [("-pm", "1"), *(("-i", str(card), "-pl", "250") for card in range(3))]
            for done in pool.map(lambda words: cards.smi(*words), asked):
                assert done.returncode == 0, done.stdout
        rows = sorted((cards.folder / "settings").read_text().splitlines())
        assert rows == sorted(
            row
            for card in range(3)
            for row in (f"{card} persistence 1", f"{card} power_limit 250000")
        )

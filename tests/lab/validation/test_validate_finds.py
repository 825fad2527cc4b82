"""The right check detects each fault of a rig, and no other check fails."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from lab.rigs.machine import Rig
from tests.lab.operator import fab, switching
from tests.lab.validation.conftest import NAME, Proof, Proven

GPU = "0000:08:00.0"  # GPU 0 of the profile
MINER = "cp /bin/sleep /usr/local/bin/lolMiner"


@dataclass(frozen=True)
class Wrong:
    """A fault (by `shell` in the rig, or a `fault` of its hardware), and the check that detects it.

    Wrongs of one batch are on the rig at the same time, and one validation finds all of them.
    """

    batch: str
    check: str
    says: str
    shell: str = ""
    fix: str = ""
    fault: tuple[str, ...] = ()
    status: str = "critical"
    variables: dict[str, Any] = field(default_factory=dict)


WRONGS = {
    "a miner's process": Wrong(
        "rig",
        "demined::no_miner",
        "lolMiner",
        f"{MINER}; systemd-run --unit=x1 /usr/local/bin/lolMiner 999",
        "systemctl stop x1; rm /usr/local/bin/lolMiner",
    ),
    "a miner in a crontab": Wrong(
        "rig",
        "demined::no_miner",
        "t-rex",
        "echo '@reboot root /opt/t-rex/t-rex -o pool' > /etc/cron.d/x2",
        "rm /etc/cron.d/x2",
    ),
    "a unit that mines": Wrong(
        "rig",
        "demined::no_miner",
        "xmrig.service",
        "printf '[Service]\\nExecStart=/opt/xmrig\\n' > /etc/systemd/system/xmrig.service",
        "rm /etc/systemd/system/xmrig.service",
    ),
    "a mining system's folder": Wrong(
        "rig", "demined::no_mining_system", "HiveOS", "mkdir -p /hive/bin", "rm -r /hive"
    ),
    "remote control": Wrong(
        "rig",
        "demined::no_remote_control",
        "ttyd",
        "cp /bin/sleep /usr/local/bin/ttyd; systemd-run --unit=x3 /usr/local/bin/ttyd 999",
        "systemctl stop x3; rm /usr/local/bin/ttyd",
    ),
    "a planted key": Wrong(
        "rig",
        "demined::authorized_keys",
        "root@hive",
        "mkdir -p /root/.ssh; echo 'ssh-ed25519 AAAA root@hive' >> /root/.ssh/authorized_keys",
        "rm /root/.ssh/authorized_keys",
    ),
    "an open port": Wrong(
        "warnings",
        "demined::listening_ports",
        "port 4028",
        "systemd-run --unit=x4 python3 -m http.server 4028 --bind 0.0.0.0"
        " && for i in $(seq 50); do ss -Hltn | grep -q :4028 && break; sleep 0.1; done",
        "systemctl stop x4",
        status="warning",
    ),
    "a host key that all can read": Wrong(
        "rig",
        "demined::host_keys",
        "0644",
        "chmod 644 /etc/ssh/ssh_host_ed25519_key",
        "chmod 600 /etc/ssh/ssh_host_ed25519_key",
    ),
    "a driver that was upgraded underneath": Wrong(
        "mismatch", "gpus::gpus_answer", "no answer", fault=("mismatch",)
    ),
    "no driver": Wrong(
        "driver",
        "software::driver",
        "no driver is loaded",
        "systemctl stop deeprig-agent; modprobe -r nvidia",
        "modprobe nvidia; systemctl start deeprig-agent",
    ),
    "a GPU that is lost": Wrong("gpus", "gpus::gpus_answer", GPU, fault=("lost", "0")),
    "a power limit that was raised": Wrong(
        "rig",
        "gpus::power_limit",
        "350 W",
        f"nvidia-smi -i {GPU} -pl 350",
        f"nvidia-smi -i {GPU} -pl 280",
    ),
    "persistence mode off": Wrong(
        "rig", "gpus::persistence", "Disabled", "nvidia-smi -pm 0", "nvidia-smi -pm 1"
    ),
    "a link that dropped": Wrong("gpus", "links::path_width", "x1", fault=("link", "1 3x1")),
    "a package that is not held": Wrong(
        "rig",
        "software::packages_held",
        "not held",
        "apt-mark unhold libnccl2",
        "apt-mark hold libnccl2",
    ),
    "swap off": Wrong("rig", "host::swap", "not in use", "swapoff /swapfile", "swapon /swapfile"),
    "the agent stopped": Wrong(
        "rig",
        "agent::service",
        "not running",
        "systemctl stop deeprig-agent",
        "systemctl start deeprig-agent",
    ),
    "no PyTorch": Wrong(
        "rig",
        "software::torch",
        "none in",
        "mv /opt/deeprig/venv /opt/deeprig/venv.away",
        "mv /opt/deeprig/venv.away /opt/deeprig/venv",
    ),
    "another PyTorch in the inventory": Wrong(
        "inventory",
        "software::torch",
        "torch==2.12.0",
        variables={"torch_requirement": "torch==2.12.0"},
    ),
    "a setting that is not on the rig yet": Wrong(
        "warnings",
        "software::as_the_inventory_says",
        "power_limits_watts",
        status="warning",
        variables={"gpu_power_limit_watts": 250},
    ),
    "more GPUs wanted than there are": Wrong(
        "inventory", "gpus::gpus_on_the_bus", "4 GPUs", variables={"gpus_expected": 4}
    ),
    "a failed unit": Wrong(
        "warnings",
        "host::failed_units",
        "x5.service",
        "systemd-run --unit=x5 -p RemainAfterExit=yes false;"
        "for i in $(seq 50); do systemctl is-failed -q x5 && break; sleep 0.1; done",
        "systemctl reset-failed x5",
        status="warning",
    ),
}
BATCHES = {
    batch: [wrong for wrong in WRONGS.values() if wrong.batch == batch]
    for batch in sorted({wrong.batch for wrong in WRONGS.values()})
}


@pytest.fixture(scope="module")
def proofs(proven: Proven) -> Callable[[str], Proof]:
    """Apply all faults of a batch, validate, and fix them; once for each batch."""

    @cache
    def find(batch: str) -> Proof:
        wrongs = BATCHES[batch]
        checks = [f"({' and '.join(wrong.check.split('::'))})" for wrong in wrongs]
        variables = {name: value for wrong in wrongs for name, value in wrong.variables.items()}
        with switching(proven.rig) as switch:
            for wrong in wrongs:
                if wrong.fault:
                    switch(*wrong.fault)
                if wrong.shell:
                    proven.rig.run(wrong.shell)
            try:
                return proven.validate("--select", " or ".join(checks), **variables)
            finally:
                for wrong in wrongs:
                    if wrong.fix:
                        proven.rig.run(wrong.fix)

    return find


@pytest.mark.parametrize("name", WRONGS)
def test_fault_fails_its_check(proofs: Callable[[str], Proof], name: str) -> None:
    wrong = WRONGS[name]
    proof = proofs(wrong.batch)
    assert proof.check(wrong.check)["status"] == wrong.status, proof.result.text
    assert wrong.says in proof.text(wrong.check)
    assert proof.result.status == (1 if wrong.status == "critical" else 0)
    assert wrong.says in " ".join(proof.result.text.split())


@pytest.mark.parametrize("batch", BATCHES)
def test_faults_fail_no_other_check(proofs: Callable[[str], Proof], batch: str) -> None:
    """Only the checks that a batch breaks fail."""
    wrong = {fault.check for fault in BATCHES[batch]}
    failing = {
        check["check"]
        for check in proofs(batch).report["checks"]
        if check["status"] in ("warning", "critical")
    }
    assert failing == wrong


#: Checks that read nvidia-smi only.
BY_SMI = ("gpus::memory_size", "gpus::persistence", "gpus::power_limit")


def test_check_without_readings_is_unknown(proven: Proven, fault: Callable[..., None]) -> None:
    fault("mismatch")
    proof = proven.validate("--select", "gpus")
    for check in BY_SMI:
        assert proof.check(check)["status"] == "unknown"
        assert "Driver/library version mismatch" in proof.text(check)


@pytest.mark.extended
def test_hung_gpu_is_named_and_does_not_delay_other_checks(
    proven: Proven, fault: Callable[..., None]
) -> None:
    fault("hang", "1")
    proof = proven.validate("--quick")
    assert proof.report["finished_at"] - proof.report["started_at"] < 60
    check = proof.check("gpus::gpus_answer")
    (row,) = [row for row in check["rows"] if row["status"] == "critical"]
    assert row["subject"] == "0000:09:00.0"
    assert "hangs" in row["reading"]
    for name in BY_SMI:
        assert proof.check(name)["status"] == "unknown"
        assert "nvidia-smi hangs" in proof.text(name)


def test_every_check_passes_after_the_fixes(proven: Proven) -> None:
    """After all fixes, no check fails."""
    proof = proven.validate("--select", "not load and not agent")
    assert proof.result.status == 0, proof.result.text


def test_partial_run_is_not_the_last_validation(proven: Proven) -> None:
    summary = "/var/lib/deeprig/validation/summary.json"
    before = proven.rig.run(f"cat {summary} 2>/dev/null || true").stdout
    proof = proven.validate("--select", "swap")
    assert proof.result.status == 0
    assert proven.rig.run(f"cat {summary} 2>/dev/null || true").stdout == before


def test_mining_rig_before_provisioning_fails_without_load(
    make_rig: Callable[[str], Rig], write_inventory: Callable[..., Path], tmp_path: Path
) -> None:
    """A mining rig before provisioning: the report names what is missing, and no load runs."""
    rig = make_rig("test10")
    proof = Proven(rig, write_inventory(rig), tmp_path).validate("--quick")
    assert proof.result.status == 1
    for check, says in {
        "demined::no_mining_system": "HiveOS",
        "links::errors_are_counted": "pci=noaer",
        "software::driver": "580 (inventory)",
        "software::torch": "none in /opt/deeprig/venv",
        "software::as_the_inventory_says": "not provisioned yet",
        "agent::service": "does not answer",
        "load::benchmarks_run": "no benchmarks on this rig: fab provision",
    }.items():
        assert says in proof.text(check), check
    assert proof.check("agent::verdicts")["status"] == "unknown"
    assert "Traceback" not in proof.result.text + json.dumps(proof.report)
    rig.discard()


def test_nccl_conf_disables_p2p_for_all_programs(proven: Proven) -> None:
    """This is the remedy for wrong values; NCCL reads /etc/nccl.conf in every program."""
    off = "{nccl_parameters: {NCCL_P2P_DISABLE: 1}}"
    result = fab(proven.inventory, NAME, "play", "playbooks/nccl.yml", "-e", off)
    assert result.status == 0, result.text
    lines = proven.rig.run("grep -v '^#' /etc/nccl.conf").stdout.splitlines()
    assert lines == ["NCCL_P2P_DISABLE=1"]
    assert fab(proven.inventory, NAME, "play", "playbooks/nccl.yml").status == 0
    assert proven.rig.run("grep -v '^#' /etc/nccl.conf || true").stdout == ""


def test_unknown_host_is_refused(proven: Proven) -> None:

    result = fab(proven.inventory, "nowhere*", "validate")
    assert result.status == 2
    assert NAME in result.text

"""The machine around the GPUs: memory, swap, disk, and whether a reboot is due."""

from __future__ import annotations

from typing import Any

from agent.checks.judgements import judge_free_disk, require_host_memory
from tests.rig.expectation import read_thresholds
from tests.rig.proof import Proof, Row, row
from tests.rig.subject import Subject

MIB = 1 << 20


def test_swap(subject: Subject, prove: Proof) -> None:
    """Swap.
    Loading a checkpoint takes RAM for it; a mining rig has 4 GB.
    """
    file = subject.expected["swap_file"]
    if not file:
        prove([Row("rig", "none", "none (inventory)")])
        return
    used = [line.split()[0] for line in subject.read("cat /proc/swaps").splitlines()[1:]]
    prove(
        [
            row(
                file,
                "in use" if file in used else "not in use",
                "in use",
                file in used,
                f"fab provision -H {subject.name} --tags base",
            )
        ]
    )


def test_memory(subject: Subject, prove: Proof) -> None:
    """RAM.
    The data loaders and the host buffers of every GPU live in it.
    """
    total, gpus = subject.facts["memory"]["total_mib"], len(subject.gpus)
    thresholds = read_thresholds(subject.expected)
    wanted = require_host_memory(gpus, thresholds) / MIB
    size = thresholds["host_memory_per_gpu_bytes"]
    prove(
        [
            row(
                "rig",
                f"{total} MiB",
                f"{wanted:.0f} MiB ({size / 1e9:g} GB for each GPU)",
                total >= wanted,
                "Add RAM: it is the cheapest part that such a rig lacks.",
                "warning",
            )
        ]
    )


def test_disk(subject: Subject, prove: Proof) -> None:
    """Disk space.
    A full disk ends a training run at its checkpoint.
    """
    free = subject.facts["root_disk"]["free_bytes"]
    thresholds = read_thresholds(subject.expected)
    status = judge_free_disk(free, thresholds)
    prove(
        [
            row(
                "/",
                f"{free / 1e9:.1f} GB free",
                f"{thresholds['disk_free_warning_bytes'] / 1e9:.0f} GB",
                status == "ok",
                "apt-get clean; delete old checkpoints; journalctl --vacuum-size=200M",
                status,
            )
        ]
    )


def test_failed_units(subject: Subject, prove: Proof) -> None:
    """Failed units.
    What systemd could not start at boot is missed later.
    """
    lines = subject.read("systemctl list-units --state=failed --no-legend --plain").splitlines()
    names = [line.split()[0] for line in lines if line.strip()]
    prove(
        [
            row(
                name,
                "failed",
                "running, or not there",
                False,
                f"systemctl status {name}",
                "warning",
            )
            for name in names
        ]
        or [Row("rig", "none", "none")]
    )


def test_reboot(subject: Subject, prove: Proof) -> None:
    """Reboot due.
    Until the next boot, what runs differs from what is installed.
    """
    due = bool(subject.facts.get("reboot_required"))
    prove(
        [
            row(
                "rig",
                "due" if due else "none due",
                "none due",
                not due,
                "Reboot when no job runs.",
                "warning",
            )
        ]
    )


def test_time(host: Any, prove: Proof) -> None:
    """Clock.
    A rig whose clock is off breaks TLS, and its graphs lie.
    """
    answer = host.run("timedatectl show -p NTPSynchronized --value").stdout.strip()
    prove(
        [
            row(
                "rig",
                {"yes": "synchronised", "no": "not synchronised"}.get(answer, "not known"),
                "synchronised",
                answer == "yes",
                "apt-get install systemd-timesyncd",
                "warning",
            )
        ]
    )

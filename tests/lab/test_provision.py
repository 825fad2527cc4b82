"""The main job, as the operator does it: `fab provision` on rigs as they were bought."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.build.image import RigImage
from lab.rigs.machine import Rig

ROOT = Path(__file__).parents[2]
MakeRig = Callable[..., Rig]
Result = dict[str, Any]


def fab(inventory: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run `fab` as the operator would, with this inventory."""
    command = [sys.executable, "-m", "fabric", *words, "--inventory", str(inventory)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def provision(inventory: Path, hosts: str, *words: str) -> Result:
    """`fab provision --json`: its document."""
    done = fab(inventory, "provision", "-H", hosts, "--json", *words)
    assert done.stdout, done.stderr
    document: Result = json.loads(done.stdout)
    assert done.returncode == 0, done.stdout
    return document


def statuses(document: Result, host: str) -> dict[tuple[str, str], str]:
    """Each task's status on a host."""
    return {
        (task["position"], task["task"]): task["status"]
        for task in document["tasks"]
        if task["host"] == host
    }


@pytest.fixture(scope="module")
def rigs(make_rig: MakeRig) -> Iterator[list[Rig]]:
    """Two rigs as they were bought."""
    rigs = [make_rig(name) for name in ("test", "test2")]
    yield rigs
    for rig in rigs:
        rig.discard()


@pytest.fixture(scope="module")
def inventory(rigs: list[Rig], write_inventory: Callable[..., Path]) -> Path:
    return write_inventory(*rigs)


@pytest.fixture(scope="module")
def predicted(rigs: list[Rig], inventory: Path) -> Result:
    """The report of check mode for the first rig, before anything is changed."""
    before = rigs[0].run("find /etc /hive /hive-config -xdev | sort | sha1sum; dpkg -l").stdout
    document = provision(inventory, "test", "--check")
    after = rigs[0].run("find /etc /hive /hive-config -xdev | sort | sha1sum; dpkg -l").stdout
    assert after == before
    return document


@pytest.fixture(scope="module")
def first(predicted: Result, inventory: Path) -> Result:
    """The first run, on both rigs at once."""
    return provision(inventory, "rigs")


@pytest.fixture(scope="module")
def second(first: Result, inventory: Path) -> Result:
    """The second run."""
    return provision(inventory, "rigs")


def test_two_rigs_become_hosts_at_once(first: Result) -> None:
    for name in ("test", "test2"):
        counts = first["hosts"][name]
        assert counts["failed"] == counts["unreachable"] == 0
        assert counts["changed"] > 40


def test_pytorch_is_fetched_while_the_driver_is_installed(first: Result) -> None:
    tasks = {task["task"]: task for task in first["tasks"] if task["host"] == "test"}
    result = tasks["Fetch meanwhile"]["items"][0]["result"]
    assert "deeprig-fetch" in result["stderr"]
    assert result["rc"] == 0
    assert (
        "not all of it"
        not in tasks["What is fetched ahead is here"]["items"][0]["result"]["stdout"]
    )


def test_the_second_run_changes_nothing(second: Result) -> None:
    for name in ("test", "test2"):
        counts = second["hosts"][name]
        assert counts["changed"] == 0, statuses(second, name)
        assert counts["ok"] > 30


def test_check_mode_predicted_what_the_run_changed(predicted: Result, first: Result) -> None:
    result, was = statuses(predicted, "test"), statuses(first, "test")
    wrong = {
        task: (result.get(task), status)
        for task, status in was.items()
        if result.get(task) != "unknown"
        and (result.get(task) == "changed") != (status == "changed")
    }
    assert wrong == {}
    assert list(result.values()).count("changed") > 20


def test_check_mode_knows_a_host_that_is_done(second: Result, inventory: Path) -> None:
    document = provision(inventory, "test", "--check")
    counts = document["hosts"]["test"]
    assert counts["changed"] == 0
    assert "unknown" not in counts
    assert document["tasks"][-1]["status"] == "skipped"  # nothing to download


def test_check_mode_ends_with_what_would_be_downloaded(predicted: Result) -> None:
    last = predicted["tasks"][-1]
    assert last["status"] == "ok"
    words = " ".join(last["items"][0]["result"]["msg"])
    size = r"packages of driver, CUDA and NCCL [1-9]\d* MB, PyTorch 0 MB, about 1 min at \d+ Mbit/s"
    parts = r"cuda-minimal-build-13-0 [1-9]\d* MB, cuda-toolkit-13-0 [1-9]\d* MB"
    assert re.search(f"^0.0 GB to download: {size} CUDA, by cuda_toolkit_parts: {parts}", words)
    assert words.endswith(
        "torch==2.13.0: size unknown, since torch_requirement or torch_index_url is set"
    )


def test_frames_are_few(second: Result) -> None:
    # A round trip for each answer that a later task needs; nothing grows with the tasks.
    assert second["hosts"]["test"]["frames"] < 60
    assert len(statuses(second, "test")) > 80


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        # Nothing of the mining system is left on the rig; all of it is in the backup.
        ("pgrep -c 'lolMiner|hive|screen' || true", "0"),
        ("ls -d /hive /hive-config 2>/dev/null | wc -l", "0"),
        ("find /etc -lname '/hive/*' | wc -l", "0"),
        ("dpkg-query -W hive 2>/dev/null | wc -l", "0"),
        ("crontab -l | grep -c '^[^#].*hive' || true", "0"),
        (
            "grep -c '^[^#].*hive' /root/.ssh/authorized_keys /home/user/.ssh/authorized_keys"
            " || true",
            "/root/.ssh/authorized_keys:0\n/home/user/.ssh/authorized_keys:0",
        ),
        ("tar -tzf /var/backups/deeprig/before.tar.gz | grep -c hive-config/rig.conf", "1"),
        ("ls /var/backups/deeprig/removed", "etc\nhive-config\nhive-drivers-pack\nusr"),
        ("stat -c %a /var/backups/deeprig /var/backups/deeprig/before.tar.gz", "700\n600"),
        # The base.
        (
            "grep -wc 'pci=noaer' /proc/cmdline /etc/default/grub || true",
            "/proc/cmdline:0\n/etc/default/grub:0",
        ),
        ("grep -wo 'net.ifnames=0' /proc/cmdline", "net.ifnames=0"),
        ("ls /sys/bus/pci/devices/0000:08:00.0/aer_dev_fatal | wc -l", "1"),
        ("ls -d /sys/module/nouveau 2>/dev/null | wc -l", "0"),
        ("awk '/SwapTotal/ {print ($2 > 0)}' /proc/meminfo", "1"),
        ("readlink -f /etc/environment /etc/default/grub", "/etc/environment\n/etc/default/grub"),
        ("grep -c '/hive' /etc/environment || true", "0"),
        # The driver, and the software that needs it.
        ("nvidia-smi --query-gpu=driver_version --format=csv,noheader | uniq", "580.95.05"),
        ("grep -c 'Open Kernel Module' /proc/driver/nvidia/version", "1"),
        ("ls /usr/bin/nvidia-uninstall 2>/dev/null | wc -l", "0"),
        ("apt-mark showhold | grep -cx 'nvidia-open-580\\|libnvidia-ml1\\|libnccl2'", "3"),
        ("nvidia-smi --query-gpu=power.limit --format=csv,noheader,nounits | uniq", "280.00"),
        ("nvidia-smi --query-gpu=persistence_mode --format=csv,noheader | uniq", "Enabled"),
        ("systemctl is-enabled gpu-power.service", "enabled"),
        ("bash -lc 'nvcc --version' | grep -o 'release 13.0'", "release 13.0"),
        ("dpkg-query -W -f '${Version}' libnccl2", "2.30.4-1+cuda13.2"),
        (
            "/opt/deeprig/venv/bin/python -c"
            " 'import torch, numpy, pynvml; print(torch.__version__)'",
            "2.13.0+cpu",
        ),
        # uv has installed every Python package, and keeps no copy of any.
        (
            "cd /opt/deeprig && grep -Lx uv venv/lib/python3*/site-packages/*/INSTALLER"
            " */venv/lib/python3*/site-packages/*/INSTALLER | wc -l",
            "0",
        ),
        ("du -sm /opt/deeprig/cache | cut -f 1", "1"),
        ("systemctl is-system-running --wait", "running"),
    ],
)
def test_the_host_at_the_end(second: Result, rigs: list[Rig], command: str, answer: str) -> None:
    assert rigs[0].run(command).stdout.strip() == answer


def test_it_stays_so_over_a_reboot(second: Result, rigs: list[Rig], inventory: Path) -> None:
    boots = rigs[1].state()["boots"]
    rigs[1].run("systemctl reboot", check=False)
    rigs[1].wait(boots=boots + 1)
    # sshd answers before the last unit is up, and a unit that is yet to start is a change.
    rigs[1].run("systemctl is-system-running --wait", check=False)
    document = provision(inventory, "test2")
    assert document["hosts"]["test2"]["changed"] == 0, statuses(document, "test2")


@pytest.fixture
def third(make_rig: MakeRig, provisioned_image: RigImage) -> Iterator[Rig]:
    """Another rig, which is provisioned already."""
    rig = make_rig("test3", built=provisioned_image)
    yield rig
    rig.discard()


@pytest.mark.extended
def test_wider_slots_after_a_visit_to_the_bios(
    third: Rig, write_inventory: Callable[..., Path]
) -> None:
    inventory = write_inventory(third)
    provision(inventory, "test3")
    third.set(profile="x4x4x4x4")
    boots = third.state()["boots"]
    third.run("systemctl reboot", check=False)
    third.wait(boots=boots + 1)
    done = fab(inventory, "facts", "-H", "test3")
    assert done.stdout.count("3 x GeForce RTX 3090, x4 at up to 8 GT/s") == 1, done.stdout
    # The GPUs have other addresses now: the limits follow their models, before any provisioning.
    limits = third.run("nvidia-smi --query-gpu=power.limit --format=csv,noheader,nounits").stdout
    assert limits.split() == ["280.00"] * 3
    document = provision(inventory, "test3")
    changed = [task["task"] for task in document["tasks"] if task["status"] == "changed"]
    assert "Unit that sets persistence and power limits" not in changed
    assert provision(inventory, "test3")["hosts"]["test3"]["changed"] == 0


@pytest.mark.extended
def test_another_branch_and_back(second: Result, rigs: list[Rig], inventory: Path) -> None:
    # What is installed and fits stays, so the way back is a setting, too.
    for branch, version in (("570", "570.195.03"), ("580", "580.95.05")):
        provision(inventory, "test2", "-e", f"nvidia_driver_branch={branch}")
        query = "nvidia-smi --query-gpu=driver_version --format=csv,noheader | uniq"
        assert rigs[1].run(query).stdout.strip() == version
    assert provision(inventory, "test2")["hosts"]["test2"]["changed"] == 0


MINER = """
mkdir -p /opt/t-rex && cp /bin/sleep /opt/t-rex/t-rex
printf '[Service]\\nExecStart=/opt/t-rex/t-rex 9999\\n[Install]\\nWantedBy=multi-user.target\\n' \
    > /etc/systemd/system/t-rex.service
systemctl daemon-reload && systemctl enable --now t-rex.service 2>/dev/null
echo '@reboot root /opt/t-rex/t-rex 8888' > /etc/cron.d/mine
echo '0 4 * * * root true' >> /etc/cron.d/mine
"""


@pytest.mark.extended
def test_a_miner_on_a_plain_system(second: Result, rigs: list[Rig], inventory: Path) -> None:
    rig = rigs[1]
    rig.run(MINER)
    rig.run("setsid /opt/t-rex/t-rex 7777 </dev/null >/dev/null 2>&1 &")
    assert rig.run("pgrep -c t-rex").stdout.strip() == "2"
    assert provision(inventory, "test2", "--tags", "demine")["hosts"]["test2"]["changed"] > 0
    assert rig.run("pgrep -c t-rex || true").stdout.strip() == "0"
    unit = "etc/systemd/system/t-rex.service"
    assert rig.run(f"ls /{unit} /var/backups/deeprig/removed/{unit}", check=False).stdout == (
        f"/var/backups/deeprig/removed/{unit}\n"
    )
    assert rig.run("cat /etc/cron.d/mine").stdout.splitlines() == [
        "# deeprig: @reboot root /opt/t-rex/t-rex 8888",
        "0 4 * * * root true",
    ]
    assert provision(inventory, "test2", "--tags", "demine")["hosts"]["test2"]["changed"] == 0

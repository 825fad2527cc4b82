"""`fab restore` restores what provisioning removed or edited; provisioning can follow again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.rigs.machine import Rig
from tests.lab.operator import ROOT, FabResult, fab, reboot, wait_until

pytestmark = pytest.mark.extended  # the rig is converted twice

NAME = "test51"
FOLDER = "/var/backups/deeprig"
STEPS = ("--tags", "demine,base,driver,reboot")
#: What of a rig should be the same before provisioning and after restoring; a line each.
STATE = r"""
dpkg-query -W -f '${db:Status-Abbrev}${Package} ${Version}\n' hive
find /hive /hive-config /hive-drivers-pack ! -path '*/log/*' -printf '%p %y %m %U %G %l\n' | sort
find /hive -type f -exec sha256sum {} + | sort
for file in /etc/default/grub /etc/environment /etc/fstab /etc/sysctl.d/hugepages.conf \
    /etc/modprobe.d/blacklist-hive.conf /etc/apt/sources.list.d/hiverepo.list \
    /etc/logrotate.d/miner /etc/udev/rules.d/99-hive.rules /hive-config/rig.conf \
    /var/spool/cron/crontabs/root \
    /etc/systemd/system/getty@tty1.service.d/autologin.conf; do
  stat -c '%n %N %a %U %G' "$file"; sha256sum "$file"
done
sort /root/.ssh/authorized_keys /home/user/.ssh/authorized_keys
for unit in hive hivex hive-console hive-watchdog hive-netpre hive-ttyd; do
  echo "$unit $(systemctl is-enabled $unit)"
done
apt-mark showhold | grep -v -e nvidia -e ^cuda -e ^libcuda -e ^libnv -e ^xserver # the driver stays
:
"""


@pytest.fixture(scope="module", autouse=True)
def no_copies() -> Iterator[None]:
    """Remove the copies of the tests' rigs from the checkout."""
    yield
    shutil.rmtree(ROOT / "backups" / NAME, ignore_errors=True)


def is_mining(rig: Rig) -> bool:
    """Return whether the miner and its watchdog run."""
    return (
        rig.run("pgrep -x lolMiner && systemctl is-active hive-watchdog", check=False).returncode
        == 0
    )


def run_verb(inventory: Path, *words: str) -> FabResult:
    """Run a verb; assert that it succeeds."""
    result = fab(inventory, NAME, *words, seconds=400)
    assert result.status == 0, result.text
    return result


def test_restored_mining_rig_can_be_provisioned_again(target: Rig, inventory: Path) -> None:
    wait_until(lambda: is_mining(target))
    before = target.run(STATE).stdout.splitlines()
    run_verb(inventory, "provision", *STEPS)
    changed = target.run(STATE, check=False).stdout.splitlines()
    assert not is_mining(target)
    assert len(set(before) - set(changed)) > 40  # otherwise the test would show nothing

    predicted = run_verb(inventory, "restore", "--check")
    assert target.run(STATE, check=False).stdout.splitlines() == changed
    result = run_verb(inventory, "restore")
    result.assert_shows("packages: 1", "A reboot starts what started then")
    predicted.assert_shows("Files: ", "packages: 1")
    assert "changed=0" not in predicted.text
    after = target.run(STATE).stdout.splitlines()
    assert set(before) ^ set(after) == set()
    # Whoever could log in can log in, and what was added stays.
    run_verb(inventory, "facts")
    target.run(
        "dpkg-query -W -f '${db:Status-Status}' nvidia-driver | grep -q installed || "
        "test -e /etc/apt/sources.list.d/nvidia.sources"
    )

    again = run_verb(inventory, "restore")
    again.assert_shows("Files: 0, packages: 0, keys: 0, units: 0.", "changed=0")
    reboot(target)
    wait_until(lambda: is_mining(target))

    run_verb(inventory, "provision", *STEPS)
    assert not is_mining(target)
    facts = json.loads(run_verb(inventory, "facts", "--json").stdout)
    rig = facts[NAME]["ansible_local"]["deeprig"]
    assert rig["mining_os"] is None
    assert rig["miners"] == []
    assert rig["driver"]["loaded_version"].startswith("580.")


def test_backups_are_listed_and_copied(target: Rig, inventory: Path) -> None:
    """Runs after the test above: the rig has a backup of its earlier state."""
    run_verb(inventory, "backup")
    status = json.loads(run_verb(inventory, "status", "--json").stdout)[NAME]
    assert status["rig"]["state"] == "whole"
    assert status["here"]["state"] == "whole"
    assert status["rig"]["files"] == status["here"]["files"]
    assert status["rig"]["aside"] > 0
    assert target.run(f"stat -c '%a %U' {FOLDER}").stdout.strip() == "700 root"
    modes = target.run(f"find {FOLDER} -maxdepth 1 -type f -printf '%m\n' | sort -u").stdout.split()
    assert modes == ["600"]
    copy = ROOT / "backups" / NAME
    assert copy.stat().st_mode & 0o777 == 0o700
    assert all(p.stat().st_mode & 0o077 == 0 for p in copy.rglob("*"))


def test_converted_rig_without_a_backup_is_not_backed_up(target: Rig, inventory: Path) -> None:
    """The rig's backup is missing: no backup of the converted state is made, the copy stays."""
    copy = ROOT / "backups" / NAME
    sums = (copy / "SHA256SUMS").read_text()
    target.run(f"mv {FOLDER} /root/lost")
    result = fab(inventory, NAME, "backup")
    assert result.status == 2
    result.assert_shows("has converted this rig", "fab restore --source")
    assert fab(inventory, NAME, "backup", "--check").status == 2
    run_verb(inventory, "provision", "--tags", "demine").assert_shows("No backup is made")
    assert target.run(f"test -e {FOLDER}", check=False).returncode != 0
    assert (copy / "SHA256SUMS").read_text() == sums
    assert sorted(copy.parent.glob(f"{NAME}*")) == [copy]


def test_check_mode_counts_what_a_copy_restores(target: Rig, inventory: Path) -> None:
    """The rig's own backup is missing, as above; check mode leaves nothing on the rig."""
    before = target.run(STATE, check=False).stdout
    source = ("restore", "--source", str(ROOT / "backups" / NAME))
    run_verb(inventory, *source, "--check").assert_shows("Files: ", "packages: 1")
    assert target.run(STATE, check=False).stdout == before
    assert target.run("ls /var/backups | grep deeprig", check=False).stdout == ""
    # Beside another copy, which stays.
    target.run(f"mkdir {FOLDER}; echo other > {FOLDER}/held.txt")
    run_verb(inventory, *source, "--check").assert_shows("packages: 1")
    assert target.run("ls /var/backups/ | grep deeprig").stdout.split() == ["deeprig"]
    assert target.run(f"cat {FOLDER}/held.txt").stdout == "other\n"
    target.run(f"rm -r {FOLDER}; mv /root/lost {FOLDER}")


def test_damaged_backup_is_not_restored(target: Rig, inventory: Path) -> None:
    """The backup is listed as damaged; the copy replaces it."""
    etc = "find /etc /hive* -newer /root/stamp -type f | head"
    target.run(f"echo damage >> {FOLDER}/before.tar.gz; touch /root/stamp")
    result = fab(inventory, NAME, "restore")
    assert result.status == 2
    result.assert_shows("is damaged", "before.tar.gz", "nothing was restored")
    run_verb(inventory, "status").assert_shows("damaged: before.tar.gz")
    backup = fab(inventory, NAME, "backup")
    assert backup.status != 0  # a damaged one does not replace the good copy
    assert target.run(etc).stdout == ""
    target.run(f": > {FOLDER}/SHA256SUMS")
    fab(inventory, NAME, "restore").assert_shows("is damaged", "held.txt: not in SHA256SUMS")
    target.run(f"rm -rf {FOLDER}")
    gone = fab(inventory, NAME, "restore")
    assert gone.status == 2
    gone.assert_shows("has no backup", "--source")
    run_verb(inventory, "restore", "--source", str(ROOT / "backups" / NAME))
    assert target.run("test -e /hive/bin && dpkg-query -W hive", check=False).returncode == 0


def test_damaged_copy_is_not_sent(target: Rig, inventory: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(ROOT / "backups" / NAME, copy)
    (copy / "held.txt").write_text("other\n")
    sums = f"cd {FOLDER} && find . -type f -exec sha256sum {{}} + | sort"
    before = target.run(sums).stdout
    result = fab(inventory, NAME, "restore", "--source", str(copy))
    assert result.status == 2
    result.assert_shows("damaged", "held.txt")
    assert target.run(sums).stdout == before
    missing = fab(inventory, NAME, "restore", "--source", str(tmp_path / "none"))
    assert missing.status == 2
    missing.assert_shows("does not exist")

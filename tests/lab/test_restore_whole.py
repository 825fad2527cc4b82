"""A rig is converted, restored and converted again: each file is as it was after the restore."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.build import flavour
from lab.rigs.machine import Rig
from tests.lab.mining.rigs import facts, find_mining
from tests.lab.operator import FabResult, fab, reboot

#: The steps of a flavour; the lab has headers of its kernel for the first two only.
STEPS = {"hiveos": "demine,base,reboot", "ubuntu-miner": "demine,base,reboot"}
#: Nothing is taken off these: clean ones, those that are refused, and hosts of rental platforms.
LEFT_ALONE = {"clean", "nhos", "raveos", "rental"}
CONVERTED = sorted(set(flavour.load_table()) - LEFT_ALONE)
RIGS = {name: f"test{100 + number}" for number, name in enumerate(CONVERTED)}
FOLDERS = (
    "/etc /root /home /var/spool/cron /var/lib/systemd/linger /boot/grub /hive /hive-config "
    "/media /opt /usr/local /lib/systemd/system /var/lib/docker"
)
#: A line for each file, link and folder, for the content of each file, and for each unit.
STATE = rf"""
find {FOLDERS} -xdev ! -path '*/log/*' -printf '%p\t%y %m %U:%G %l\n' 2>/dev/null
find {FOLDERS} -xdev -type f ! -path '*/log/*' -exec sha256sum {{}} + 2>/dev/null |
  awk '{{ hash = $1; sub(/^[^ ]+ +/, ""); print $0 "\tcontent " hash }}'
systemctl list-unit-files --no-legend --no-pager --plain | awk '{{ print "unit " $1 "\t" $2 }}'
systemctl list-units --no-legend --plain --state=active --type=service,timer,socket |
  awk '{{ print "active " $1 "\tyes" }}'
grep -Hos '"RestartPolicy.*' /var/lib/docker/containers/*/hostconfig.json |
  sed 's/: */\t/2' | tr -d ' '
apt-mark showhold | awk '{{ print "hold " $1 "\tyes" }}'
tr ' ' '\n' </proc/cmdline | awk '{{ print "argument " $1 "\tyes" }}'
findmnt --raw --noheadings --output TARGET | awk '{{ print "mount " $1 "\tyes" }}'
"""
#: What differs between any two boots, what a login changes, and what a restore leaves as it is now.
ELSEWHERE = re.compile(
    r"/etc/(mtab|resolv\.conf|machine-id|ld\.so\.cache|alternatives|ssh|ssl/certs|passwd|group)"
    r"|/etc/g?shadow|/\.(bash_history|cache|lesshst|Xauthority|sudo_as_admin_successful)|/run/"
    r"|^active (user|session|run-|systemd-.*@|ssh)"
    # Of the first boot after an update of the system.
    r"|^active (ldconfig|systemd-journal-catalog-update|systemd-sysusers|systemd-update-done)\."
    r"|^mount /(run|proc|sys|dev|tmp)|^argument root=|/docker/containers/.* \(content\)"
)
#: Provisioning adds these; they stay.
ADDED = re.compile(
    r"deeprig|nvidia|/etc/(apt|default/grub\.d|ca-certificates|python3|gnupg|cloud|kernel)|/usr/local"
    r"|^unit (dirmngr|gpg-agent|keyboxd|apt-|unattended)|^/etc/systemd/system/[^/]*$|swapfile"
)


@dataclass
class ConvertedRig:
    """A rig that was converted, and its state before."""

    flavour: str
    rig: Rig
    inventory: Path
    before: dict[str, str]

    def run(self, *words: str) -> FabResult:
        """Run a verb on it."""
        return fab(self.inventory, self.rig.name, *words, seconds=400)

    def convert(self) -> None:
        """Run the steps of `fab provision` that take the mining system off."""
        steps = STEPS.get(self.flavour, "demine")
        result = self.run("provision", "--accept-taken-over", "--tags", steps)
        assert result.status == 0, result.text


def state(rig: Rig) -> dict[str, str]:
    """What there is, by the name of a file, unit, hold, argument or mount."""
    rows: dict[str, str] = {}
    for line in rig.run(STATE, check=False).stdout.splitlines():
        name, _, value = line.partition("\t")
        key = f"{name} (content)" if value.startswith("content ") else name
        if not ELSEWHERE.search(key):
            rows[key] = value
    return rows


def differences(before: dict[str, str], after: dict[str, str]) -> dict[str, tuple[str, str]]:
    """What is not as before, and what is new and not provisioning's."""
    names = {name for name in before if after.get(name) != before[name]}
    names |= {name for name in after.keys() - before.keys() if not ADDED.search(name)}
    return {name: (before.get(name, "-"), after.get(name, "-")) for name in sorted(names)}


@pytest.fixture(
    scope="module",
    params=list(RIGS),
)
def converted(
    request: pytest.FixtureRequest,
    make_rig: Callable[..., Rig],
    write_inventory: Callable[..., Path],
) -> Iterator[ConvertedRig]:
    name = request.param
    rig = make_rig(RIGS[name], flavour=name)
    before = state(rig)
    made = ConvertedRig(name, rig, write_inventory(rig), before)
    made.convert()
    yield made
    rig.discard()


@pytest.mark.extended
def test_check_mode_names_what_comes_back_and_changes_nothing(converted: ConvertedRig) -> None:
    changed = state(converted.rig)
    lost = {
        name.removesuffix(" (content)")
        for name in differences(converted.before, changed)
        if name.startswith("/") and name in converted.before
    }
    assert len(lost) > 2  # otherwise the test would show nothing
    result = converted.run("restore", "--check")
    assert result.status == 0, result.text
    listed = set(re.findall(r"would bring back: (?:keys of )?(/\S+)", result.text))
    unnamed = {
        path
        for path in lost
        if not any(path == name or path.startswith(f"{name}/") for name in listed)
        and path not in ("/boot/grub/grub.cfg", "/boot/grub")
        and "/docker/" not in path
    }
    assert unnamed == set(), result.text
    assert differences(changed, state(converted.rig)) == {}


@pytest.mark.extended
def test_restored_rig_is_as_it_was(converted: ConvertedRig) -> None:
    result = converted.run("restore")
    assert result.status == 0, result.text
    result.assert_shows("The rig was compared with the backup: nothing else differs.")
    again = converted.run("restore")
    again.assert_shows("Files: 0, packages: 0, keys: 0, units: 0.", "changed=0")
    files = differences(converted.before, state(converted.rig))
    assert {name: change for name, change in files.items() if name.startswith("/")} == {}
    # What a boot makes of them; a mining system may write its crontabs again.
    reboot(converted.rig)
    left = differences(converted.before, state(converted.rig))
    assert {name: change for name, change in left.items() if "/cron/" not in name} == {}


@pytest.mark.extended
def test_restored_rig_can_be_converted_again(converted: ConvertedRig) -> None:
    converted.convert()
    assert find_mining(converted.rig) == []
    assert facts(converted.inventory, converted.rig.name)["miners"] == []

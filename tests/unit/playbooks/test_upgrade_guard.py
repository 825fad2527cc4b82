"""The guard's program: what it keeps before an upgrade, and what it brings back."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.unit.playbooks.playbook_shell import PLAYBOOKS, render_template

OLD, NEW = "580.95.05-1", "590.48.01-1"
#: A package manager whose database is the file `installed`, lines "NAME VERSION".
PROGRAMS = {
    "dpkg-query": """
case "$3" in
*Package*) sed 's/^/installed /; s/ [^ ]*$//' "$F/installed" ;;
*Status*) sed -n "s/^${4%%:*} /installed /p" "$F/installed" ;;
*) sed -n "s/^$4 //p" "$F/installed" ;;
esac
""",
    "dpkg-deb": 'name=${3##*/}; version=${name#*_}; echo "${name%%_*} ${version%%_*} $name"',
    "dpkg": 'echo "dpkg $*" >>"$F/calls"',
    "apt-mark": '[ "$1" = showhold ] && cat "$F/holds" || { echo "$*"; cat; } >>"$F/calls"',
    # Installs files, removes NAME-, and makes what `download` asks for.
    "apt-get": """
echo "apt-get $*" >>"$F/calls"
case "$*" in *download*)
    name=${*##*download }
    [ ! -e "$F/gone" ] || exit 100
    : >"${name%=*}_${name#*=}_amd64.deb"
    exit ;;
esac
for word; do
    case $word in
    *.deb) file=${word##*/}; version=${file#*_}
        sed -i "/^${file%%_*} /d" "$F/installed"
        echo "${file%%_*} ${version%%_*}" >>"$F/installed" ;;
    -*) ;;
    *-) sed -i "/^${word%-} /d" "$F/installed" ;;
    esac
done
""",
    "systemctl": 'echo "systemctl $*" >>"$F/calls"',
    "dpkg-repack": "exit 1",
}


class GuardedRig:
    """A folder with the files of a rig, and the guard's program."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "bin").mkdir()
        for name, text in PROGRAMS.items():
            (folder / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
            (folder / "bin" / name).chmod(0o755)
        for path in ("var/cache/apt/archives", "var/lib/deeprig", "run", "etc/apt/preferences.d"):
            (folder / path).mkdir(parents=True)
        (folder / "venv/lib").mkdir(parents=True)
        self.write("venv/lib/torch", "2.13.0")
        self.write("etc/apt/preferences.d/driver", "580")
        self.write("installed", f"libcuda1 {OLD}\nlibnccl2 2.29\nbash 5\n")
        self.write("holds", "libcuda1\n")
        text = render_template((PLAYBOOKS / "templates/upgrade-guard.j2").read_text(), venv="/venv")
        self.write("guard", text.replace("PATH=/usr", f"PATH={folder}/bin:/usr", 1))

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def read(self, name: str) -> str:
        return (self.folder / name).read_text()

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        environment = {"ROOT": str(self.folder), "F": str(self.folder)}
        return subprocess.run(
            ["bash", str(self.folder / "guard"), *words],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def status(self) -> dict[str, str]:
        lines = self.run("status").stdout.splitlines()
        return dict(line.split("=", 1) for line in lines)

    def upgrade(self) -> None:
        """What an upgrade leaves: another driver, a new package, pins, PyTorch."""
        self.write("installed", f"libcuda1 {NEW}\nlibnccl2 2.29\nbash 5\nnvidia-new 1\n")
        self.write("etc/apt/preferences.d/driver", "590")
        self.write("etc/apt/preferences.d/another", "x")
        (self.folder / "venv/lib/torch").unlink()
        self.write("venv/lib/torch", "2.14.0")


@pytest.fixture
def rig(tmp_path: Path) -> GuardedRig:
    return GuardedRig(tmp_path)


def test_upgrade_is_taken_back_whole(rig: GuardedRig) -> None:
    assert rig.run("save", "libcuda1", "libnccl2").returncode == 0
    rig.run("arm")
    rig.upgrade()
    rig.run("back", "validation found it worse")
    status = rig.status()
    assert (status["state"], status["reboots"]) == ("back", "yes")
    assert status["reason"] == "validation found it worse"
    assert set(rig.read("installed").splitlines()) == {f"libcuda1 {OLD}", "libnccl2 2.29", "bash 5"}
    assert rig.read("etc/apt/preferences.d/driver") == "580"
    assert not (rig.folder / "etc/apt/preferences.d/another").exists()
    assert rig.read("venv/lib/torch") == "2.13.0"
    assert "systemctl reboot" in rig.read("calls")


def test_what_did_not_change_needs_no_reboot(rig: GuardedRig) -> None:
    rig.run("save", "libcuda1")
    rig.run("arm")
    rig.run("back", "the driver could not be installed")
    assert (rig.status()["state"], rig.status()["reboots"]) == ("back", "no")
    assert "systemctl reboot" not in rig.read("calls")


def test_package_without_a_file_is_no_start(rig: GuardedRig) -> None:
    rig.write("gone", "")
    refused = rig.run("save", "libcuda1")
    assert refused.returncode == 1
    assert f"libcuda1={OLD}" in refused.stderr
    assert rig.status()["state"] == "none"
    # In the cache it is as good.
    rig.write(f"var/cache/apt/archives/libcuda1_{OLD}_amd64.deb", "")
    assert rig.run("save", "libcuda1").returncode == 0


def test_what_does_not_come_back_is_named(rig: GuardedRig) -> None:
    rig.run("save", "libcuda1")
    rig.run("arm")
    rig.upgrade()
    rig.write("bin/apt-get", "#!/bin/sh\nexit 100\n")
    rig.run("back", "worse")
    status = rig.status()
    assert status["state"] == "stuck"
    assert status["left"] == f"libcuda1 is not {OLD};nvidia-new was not there before"


def test_reached_rig_waits_and_a_confirmed_one_stays(rig: GuardedRig) -> None:
    rig.run("save", "libcuda1")
    rig.run("arm")
    rig.upgrade()
    rig.run("keep", "60")
    rig.run("tick")
    assert rig.status()["state"] == "armed"
    rig.run("confirm")
    rig.write("run/deeprig-upgrade-until", "0")
    rig.run("tick")
    assert rig.status()["state"] == "confirmed"
    assert f"libcuda1 {NEW}" in rig.read("installed")


def test_boot_that_is_not_confirmed_goes_back(rig: GuardedRig) -> None:
    rig.run("save", "libcuda1")
    rig.run("arm")
    rig.upgrade()
    rig.run("tick")
    assert "not confirmed" in rig.status()["reason"]
    assert f"libcuda1 {OLD}" in rig.read("installed")
    # It reboots also where no package differs: the network may not work.
    assert rig.status()["reboots"] == "yes"


def test_operator_who_comes_after_it_went_back_does_not_go_on(rig: GuardedRig) -> None:
    rig.run("save", "libcuda1")
    rig.run("arm")
    assert rig.run("keep", "60").returncode == 0
    rig.write("run/deeprig-upgrade-until", "0")
    rig.upgrade()
    rig.run("tick")
    late = rig.run("keep", "60")
    assert late.returncode == 1
    assert "gone back already: it was not confirmed in time" in late.stderr


def test_second_upgrade_waits_for_the_first(rig: GuardedRig) -> None:
    rig.run("save", "libcuda1")
    rig.run("arm")
    again = rig.run("save", "libcuda1")
    assert again.returncode == 1
    assert "has not ended" in again.stderr
    assert rig.status()["state"] == "armed"


def test_interrupted_way_back_goes_on(rig: GuardedRig) -> None:
    rig.run("save", "libcuda1")
    rig.write("var/lib/deeprig/upgrade/state", "going-back\n")
    rig.write("var/lib/deeprig/upgrade/reason", "worse\n")
    rig.upgrade()
    rig.run("tick")
    assert rig.status()["state"] == "back"
    assert rig.status()["reason"] == "worse"
    assert rig.read("venv/lib/torch") == "2.13.0"

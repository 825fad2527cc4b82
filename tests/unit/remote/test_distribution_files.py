"""Links into a mining system, and files that it rewrote, become the distribution's again."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from provision.remote.distribution_files import DistributionFiles
from provision.remote.login_sessions import switch_off_sessions
from tests.unit.modules.rig import create_files

WAIT_ONLINE = "usr/lib/systemd/system/systemd-networkd-wait-online.service"
WANTS = "etc/systemd/system/multi-user.target.wants"
LOOP = (
    "until screen -x boot_process; do\n  N=$((N + 1))\n  if [ $N = 5 ]; then\n    start\n  fi\n"
    "  sleep 1\ndone\n"
)


class RigFolder:
    """A rig's files in a folder, with a package that has its file in apt's cache."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root / "rig"
        self.aside = root / "aside"
        self.work = root / "work"
        self.programs = root / "bin"
        for folder in (self.root, self.work, self.programs):
            folder.mkdir()
        self.program("dpkg-query", "echo 1.0 amd64")
        self.program("apt-get", "echo 'E: no network' >&2; exit 100")
        monkeypatch.setenv("PATH", f"{self.programs}:/usr/bin:/bin")

    def program(self, name: str, script: str) -> None:
        file = self.programs / name
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)

    def install(self, package: str, files: dict[str, str]) -> None:
        """Let dpkg list the files of a package, and put its archive into apt's cache."""
        create_files(
            self.root, {f"var/lib/dpkg/info/{package}.list": "".join(f"/{f}\n" for f in files)}
        )
        tree = self.work.parent / package
        create_files(tree, files)
        control = "Version: 1.0\nArchitecture: amd64\nMaintainer: x\nDescription: x\n"
        create_files(tree, {"DEBIAN/control": f"Package: {package}\n{control}"})
        cache = self.root / "var/cache/apt/archives"
        cache.mkdir(parents=True, exist_ok=True)
        archive = cache / f"{package}_1.0_amd64.deb"
        subprocess.run(["dpkg-deb", "--build", tree, archive], check=True, capture_output=True)

    def change(
        self, *rewritten: str, folders: tuple[str, ...] = ("/hive", "/hive-config")
    ) -> list[str]:
        files = DistributionFiles(folders, str(self.aside), str(self.work), str(self.root))
        return [" ".join(change) for change in files.changes(rewritten)]

    def read(self, path: str) -> str:
        return (self.root / path).read_text()


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RigFolder:
    """An empty rig."""
    return RigFolder(tmp_path, monkeypatch)


def test_link_over_a_unit_of_the_distribution_becomes_the_packages_file(rig: RigFolder) -> None:
    # The package lists its file as systems without a merged /usr have it.
    rig.install("systemd", {WAIT_ONLINE.removeprefix("usr/"): "[Service]\nExecStart=/bin/wait\n"})
    create_files(
        rig.root,
        {
            WAIT_ONLINE: {"link": "/hive/etc/wait.service"},
            "hive/etc/wait.service": "[Service]\nExecStart=/hive/sbin/wait\n",
            "lib": {"link": "usr/lib"},
        },
    )
    assert rig.change() == [f"original /{WAIT_ONLINE}"]
    assert rig.read(WAIT_ONLINE) == "[Service]\nExecStart=/bin/wait\n"
    assert (rig.aside / WAIT_ONLINE).is_symlink()
    assert rig.change() == []


def test_unit_stays_as_the_mining_system_has_it_if_no_repository_answers(rig: RigFolder) -> None:
    rig.install("systemd", {WAIT_ONLINE: "x"})
    (rig.root / "var/cache/apt/archives/systemd_1.0_amd64.deb").unlink()
    create_files(
        rig.root,
        {
            WAIT_ONLINE: {"link": "/hive/w.service"},
            "hive/w.service": "[Service]\nExecStart=/hive/sbin/wait --all\n",
            "hive/sbin/wait": "#!/bin/sh\n",
        },
    )
    assert rig.change() == [f"plain /{WAIT_ONLINE}"]
    assert "ExecStart=/etc/deeprig/kept/hive/sbin/wait --all" in rig.read(WAIT_ONLINE)
    assert rig.read("etc/deeprig/kept/hive/sbin/wait") == "#!/bin/sh\n"


def lay_wireless(rig: RigFolder, wanted: str, **more: Any) -> None:
    create_files(
        rig.root,
        {
            "usr/lib/systemd/system/wpa_supplicant@wlan0.service": {
                "link": "/hive/etc/wpa.service"
            },
            f"{WANTS}/wpa_supplicant@wlan0.service": {"link": wanted},
            "hive/etc/wpa.service": "[Service]\nExecStart=/sbin/wpa -c /hive-config/wifi.txt\n",
            "hive-config/wifi.txt": "network={}\n",
            "etc/wpa_supplicant/wpa_supplicant.conf": {"link": "/hive-config/wifi.txt"},
            **more,
        },
    )


@pytest.mark.parametrize(
    "wanted",
    ["/hive/etc/wpa.service", "/lib/systemd/system/wpa_supplicant@wlan0.service"],
    ids=["direct", "through-lib"],
)
def test_network_unit_becomes_a_plain_file_with_what_it_names(rig: RigFolder, wanted: str) -> None:
    lay_wireless(rig, wanted, lib={"link": "usr/lib"})
    changes = rig.change()
    unit = "usr/lib/systemd/system/wpa_supplicant@wlan0.service"
    assert f"plain /{unit}" in changes
    assert not (rig.root / unit).is_symlink()
    assert "-c /etc/deeprig/kept/hive-config/wifi.txt" in rig.read(unit)
    assert rig.read("etc/deeprig/kept/hive-config/wifi.txt") == "network={}\n"
    assert rig.read("etc/wpa_supplicant/wpa_supplicant.conf") == "network={}\n"
    link = rig.root / WANTS / "wpa_supplicant@wlan0.service"
    assert str(link.readlink()).startswith(("/usr/lib/systemd/system/", "/lib/systemd/system/"))
    assert rig.change() == []


def test_links_of_the_mining_system_go_with_those_that_lead_to_them(rig: RigFolder) -> None:
    create_files(
        rig.root,
        {
            "lib": {"link": "usr/lib"},
            "usr/lib/systemd/system/hive.service": {"link": "/hive/etc/hive.service"},
            f"{WANTS}/hive.service": {"link": "/lib/systemd/system/hive.service"},
            "etc/systemd/system/agent.service": {"link": "/usr/lib/systemd/system/hive.service"},
            f"{WANTS}/hivex.service": {"link": "../../../../hive/etc/hivex.service"},
            "etc/logrotate.d/hive": {"link": "/hive/etc/logrotate.d/hive"},
            f"{WANTS}/cron.service": {"link": "/lib/systemd/system/cron.service"},
            "etc/motd": {"link": "/hive-other/motd"},
        },
    )
    changes = rig.change()
    assert {change.partition(" ")[0] for change in changes} == {"removed"}
    left = {str(path.relative_to(rig.root)) for path in rig.root.rglob("*") if path.is_symlink()}
    assert left == {"lib", f"{WANTS}/cron.service", "etc/motd"}
    assert (rig.aside / "usr/lib/systemd/system/hive.service").is_symlink()


@pytest.mark.parametrize(
    "path",
    [
        "etc/ssh/sshd_config",
        "etc/fstab",
        "etc/netplan/01.yaml",
        "etc/pam.d/sshd",
        "etc/environment",
    ],
)
def test_settings_keep_their_content(rig: RigFolder, path: str) -> None:
    rig.install("base", {path: "of the package\n"})
    create_files(rig.root, {path: {"link": "/hive/x"}, "hive/x": "of the rig\n"})
    assert rig.change() == [f"plain /{path}"]
    assert rig.read(path) == "of the rig\n"
    assert not (rig.root / path).is_symlink()


def test_setting_whose_content_was_deleted_comes_from_its_package(rig: RigFolder) -> None:
    rig.install("pam", {"etc/pam.d/sshd": "of the package\n"})
    create_files(rig.root, {"etc/pam.d/sshd": {"link": "/hive/gone"}})
    assert rig.change() == ["original /etc/pam.d/sshd"]
    assert rig.read("etc/pam.d/sshd") == "of the package\n"


def test_plain_network_settings_keep_the_files_that_they_name(rig: RigFolder) -> None:
    create_files(
        rig.root,
        {
            "etc/network/interfaces": "iface wlan0 inet dhcp\n  wpa-conf /hive-config/wifi.txt\n",
            "etc/cron.d/x": "* * * * * root cat /hive-config/wifi.txt\n",
            "hive-config/wifi.txt": "network={}\n",
        },
    )
    assert rig.change() == ["plain /etc/network/interfaces"]
    assert "wpa-conf /etc/deeprig/kept/hive-config/wifi.txt" in rig.read("etc/network/interfaces")
    assert "/hive-config/wifi.txt" in rig.read("etc/cron.d/x")


def test_rewritten_profile_becomes_the_copy_of_base_files(rig: RigFolder) -> None:
    create_files(
        rig.root,
        {"etc/profile": LOOP, "usr/share/base-files/profile": "# of base-files\n"},
    )
    assert rig.change("/etc/profile") == ["original /etc/profile"]
    assert rig.read("etc/profile") == "# of base-files\n"
    assert (rig.aside / "etc/profile").read_text() == LOOP


def test_rewritten_unit_becomes_its_packages_file(rig: RigFolder) -> None:
    unit = "usr/lib/systemd/system/getty@.service"
    rig.install("systemd", {unit: "ExecStart=-/sbin/agetty\n"})
    create_files(rig.root, {unit: "ExecStart=-/sbin/agetty --autologin miner\n"})
    assert rig.change(f"/{unit}", folders=()) == [f"original /{unit}"]
    assert rig.read(unit) == "ExecStart=-/sbin/agetty\n"


def test_unknown_rewritten_file_is_reported(rig: RigFolder) -> None:
    create_files(rig.root, {"usr/lib/systemd/system/getty@.service": "x"})
    (problem,) = rig.change("/usr/lib/systemd/system/getty@.service")
    assert problem == "problem /usr/lib/systemd/system/getty@.service: no package owns it"


def test_repository_without_the_installed_version_gives_its_latest(rig: RigFolder) -> None:
    unit = "usr/lib/systemd/system/getty@.service"
    rig.install("systemd", {unit: "new\n"})
    archive = rig.root / "var/cache/apt/archives/systemd_1.0_amd64.deb"
    archive.rename(rig.programs / "latest")
    rig.program(
        "apt-get",
        f"case $3 in *=*) exit 100 ;; *) cp {rig.programs}/latest systemd_2.0_amd64.deb ;; esac",
    )
    create_files(rig.root, {unit: "x --autologin miner\n"})
    assert rig.change(f"/{unit}") == [f"original /{unit}"]
    assert rig.read(unit) == "new\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (LOOP, "".join(f": # deeprig: {line}" for line in LOOP.splitlines(keepends=True))),
        (
            "a\nwhile true; do screen -x miner; sleep 1; done\nb\n",
            "a\n: # deeprig: while true; do screen -x miner; sleep 1; done\nb\n",
        ),
        (
            "if x; then\n while ! tmux attach -t m\n do\n  for i in 1 2; do y; done\n done\nfi\n",
            "if x; then\n: # deeprig:  while ! tmux attach -t m\n: # deeprig:  do\n"
            ": # deeprig:   for i in 1 2; do y; done\n: # deeprig:  done\nfi\n",
        ),
        ("exec sudo screen -x miner\n", ": # deeprig: exec sudo screen -x miner\n"),
        ("[ -t 0 ] && exec tmux attach\n", ": # deeprig: [ -t 0 ] && exec tmux attach\n"),
        # Loops and sessions of the rig's user stay.
        ("for i in /etc/profile.d/*.sh; do\n  . $i\ndone\n", None),
        ("while read -r x; do echo $x; done < y\n", None),
        ("# until screen -x a; do b; done\n", None),
        (": # deeprig: until screen -x a; do b; done\n", None),
        ("tmux new-session -A -s main\nscreen -S work\n", None),
    ],
)
def test_waiting_for_a_session_is_switched_off(before: str, after: str | None) -> None:
    result = switch_off_sessions(before)
    assert result == (before if after is None else after)
    assert switch_off_sessions(result) == result
    subprocess.run(["bash", "-n"], input=result, text=True, check=True)


def test_login_file_of_a_user_keeps_its_other_lines(rig: RigFolder) -> None:
    create_files(rig.root, {"home/me/.profile": f"PATH=/x\n{LOOP}"})
    assert rig.change("/home/me/.profile") == ["switched off /home/me/.profile"]
    assert rig.read("home/me/.profile").startswith("PATH=/x\n: # deeprig: until screen")
    assert (rig.aside / "home/me/.profile").read_text() == f"PATH=/x\n{LOOP}"


def test_login_rules_without_an_original_lose_the_lines_of_the_mining_system(
    rig: RigFolder,
) -> None:
    rules = "auth required pam_unix.so\nsession optional pam_exec.so /hive/sbin/hello\n"
    create_files(rig.root, {"etc/pam.d/common-session": rules})
    assert rig.change("/etc/pam.d/common-session") == ["switched off /etc/pam.d/common-session"]
    assert rig.read("etc/pam.d/common-session") == rules.replace("session", "# deeprig: session")


def test_script_that_the_mining_system_added_is_removed(rig: RigFolder) -> None:
    create_files(rig.root, {"etc/update-motd.d/99-x": "#!/bin/sh\n/hive/bin/motd\n"})
    assert rig.change("/etc/update-motd.d/99-x") == ["removed /etc/update-motd.d/99-x"]
    assert (rig.aside / "etc/update-motd.d/99-x").exists()


def test_programs_of_the_mining_system_are_not_kept_out_of_sight(rig: RigFolder) -> None:
    """A network setting may have its files; a hook of the miner stays where it is looked for."""
    files = {
        "etc/network/interfaces": "iface eth0\n  post-up /hive/bin/hello\n  x /hive/keys\n",
        "etc/systemd/system/ssh.service": "[Service]\nExecStartPost=/hive/bin/hello\n",
        "hive/bin/hello": "#!/bin/sh\n",
        "hive/keys": "x\n",
    }
    create_files(rig.root, files)
    assert rig.change() == ["plain /etc/network/interfaces"]
    assert "post-up /hive/bin/hello" in rig.read("etc/network/interfaces")
    assert "x /etc/deeprig/kept/hive/keys" in rig.read("etc/network/interfaces")
    assert rig.read("etc/systemd/system/ssh.service") == files["etc/systemd/system/ssh.service"]


@pytest.mark.parametrize(
    "path",
    [
        "etc/network/if-up.d/hello",
        "etc/NetworkManager/dispatcher.d/90-hello",
        "etc/dhcp/dhclient-exit-hooks.d/hello",
        "etc/ssh/sshrc",
    ],
)
@pytest.mark.parametrize("is_link", [True, False], ids=["link", "file"])
def test_hooks_of_the_mining_system_go(rig: RigFolder, path: str, is_link: bool) -> None:
    hook: Any = {"link": "/hive/bin/hello"} if is_link else "#!/bin/sh\n/hive/bin/hello\n"
    create_files(rig.root, {path: hook, "hive/bin/hello": "#!/bin/sh\n"})
    assert rig.change(*([] if is_link else [f"/{path}"])) == [f"removed /{path}"]
    assert not (rig.root / path).exists()
    assert not (rig.root / "etc/deeprig").exists()

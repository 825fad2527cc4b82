"""What the archive of a backup contains of homes: the shell of its task, on files."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import tarfile
from pathlib import Path

import pytest
import yaml

from tests.unit.playbooks.playbook_shell import (
    PLAYBOOKS,
    evaluate_expression,
    render_template,
    tasks,
)

TASK = tasks("backup.yml")["Archive of the settings before"]
VARIABLES = yaml.safe_load((PLAYBOOKS / "backup.yml").read_text())[0]["vars"]


def archive(root: Path, *paths: str, evidence: tuple[str, ...] = ()) -> list[tarfile.TarInfo]:
    """Archive the homes in a folder, and `paths`, as the task does; return the members.

    evidence: paths of what starts a miner, by the facts.
    """
    given = ("backup_in_homes", "backup_in_own_homes", "backup_largest_mib", "backup_left_out")
    variables = {name: VARIABLES[name] for name in given}
    variables |= {"_kept_parents": VARIABLES["_kept_parents"], "_of_root": []}
    variables["_folders"] = ["/hive"]
    variables["_evidence"] = [str(root / path) for path in evidence]
    variables["backup_paths"] = [str(root / path) for path in ("missing", *paths)]
    for name in ("_in_homes", "_kept_paths"):
        variables[name] = evaluate_expression(VARIABLES[name], **variables)
    command = render_template(TASK["ansible.builtin.shell"]["cmd"], **variables)
    # The rig's root folder is the test's.
    command = re.sub(
        r"(?<=[ '])/(?=(home|lib|usr/s?bin|usr/lib|usr/local|var/lib|s?bin)/)", f"{root}/", command
    )
    command = command.replace("cd / ", f"cd {root} ").replace(r",/\1,p", rf",{root}/\1,p")
    folder = root / "backup"
    folder.mkdir()
    subprocess.run(
        ["/bin/bash", "-c", command],
        cwd=folder,
        check=True,
        capture_output=True,
        timeout=60,
    )
    assert (folder / "before.tar.gz").stat().st_mode & 0o777 == 0o600
    with tarfile.open(folder / "before.tar.gz") as tar:
        return tar.getmembers()


def names(members: list[tarfile.TarInfo], root: Path) -> list[str]:
    return sorted(f"/{member.name}".removeprefix(str(root)) for member in members)


def create_files(root: Path, *files: str) -> None:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text(file)


def test_only_settings_of_users_are_archived(tmp_path: Path) -> None:
    create_files(
        tmp_path,
        "etc/fstab",
        "home/a/.profile",
        "home/a/.ssh/config",
        "home/a/.ssh/keys/one",
        "home/a/.config/autostart/x.desktop",
        "home/a/.config/other/y",
        "home/a/notes",
        "home/a/work/.profile",
        "home/ethos/local.conf",
        "home/minerstat/minerstat-os/bin/x",
        "home/minerstat/minerstat-os/clients/t-rex/t-rex",
    )
    assert names(archive(tmp_path, "etc"), tmp_path) == [
        "/etc",
        "/etc/fstab",
        "/home/a/.config",
        "/home/a/.config/autostart",
        "/home/a/.config/autostart/x.desktop",
        "/home/a/.profile",
        "/home/a/.ssh",
        "/home/a/.ssh/config",
        "/home/a/.ssh/keys",
        "/home/a/.ssh/keys/one",
        "/home/ethos/local.conf",
        "/home/minerstat/minerstat-os",
        "/home/minerstat/minerstat-os/bin",
        "/home/minerstat/minerstat-os/bin/x",
    ]


def test_symlink_is_archived_as_a_symlink(tmp_path: Path) -> None:
    create_files(tmp_path, "secret/id", "home/a/.bashrc")
    (tmp_path / "home/a/.ssh").symlink_to(tmp_path / "secret")
    (tmp_path / "home/a/.config").symlink_to(tmp_path / "secret")
    (tmp_path / "secret/autostart").mkdir()
    create_files(tmp_path, "secret/autostart/x.desktop")
    (tmp_path / "home/a/.profile").symlink_to(tmp_path / "secret/id")
    members = archive(tmp_path)
    assert names(members, tmp_path) == [
        "/home/a/.bashrc",
        "/home/a/.config",
        "/home/a/.profile",
        "/home/a/.ssh",
    ]
    assert [member.issym() for member in members].count(True) == 3


@pytest.mark.parametrize(
    "file",
    [
        *(".bash_login", ".zshrc", ".zprofile", ".xsession", ".xinitrc", ".xprofile"),
        *(".config/openbox/autostart", ".config/systemd/user/default.target.wants/m.service"),
        *(".config/lxsession/LXDE/autostart", ".gitconfig", ".npmrc", ".screenrc"),
    ],
)
def test_every_file_that_a_login_reads_is_archived(tmp_path: Path, file: str) -> None:
    create_files(tmp_path, f"home/a/{file}")
    assert f"/home/a/{file}" in names(archive(tmp_path), tmp_path)


def test_what_starts_a_miner_is_archived_wherever_it_is(tmp_path: Path) -> None:
    create_files(tmp_path, "home/a/rig/start.sh", "srv/farm/run.conf", "home/a/rig/other")
    (tmp_path / "home/b").mkdir()
    (tmp_path / "home/b/rig").symlink_to(tmp_path / "home/a/rig")
    evidence = ("home/a/rig/start.sh", "srv/farm/run.conf", "home/b/rig/other", "srv/missing")
    assert names(archive(tmp_path, evidence=evidence), tmp_path) == [
        "/home/a/rig/start.sh",
        "/srv/farm/run.conf",
    ]


def test_changed_units_of_packages_are_archived(tmp_path: Path) -> None:
    units = "lib/systemd/system"
    create_files(tmp_path, "home/a/.profile", f"{units}/getty@.service", f"{units}/cron.service")
    digest = hashlib.md5(f"{units}/cron.service".encode(), usedforsecurity=False).hexdigest()
    (tmp_path / "var/lib/dpkg/info").mkdir(parents=True)
    (tmp_path / "var/lib/dpkg/info/all.md5sums").write_text(
        f"{digest}  {units}/cron.service\n{'0' * 32}  {units}/getty@.service\n"
    )
    (tmp_path / units / "x.service").symlink_to("/hive/etc/x.service")
    (tmp_path / "usr/sbin").mkdir(parents=True)
    (tmp_path / "usr/sbin/logrotate").symlink_to("../../hive/sbin/logrotate")
    (tmp_path / "usr/sbin/awk").symlink_to("/etc/alternatives/awk")
    (tmp_path / units / "dbus.service").symlink_to("dbus-broker.service")
    assert names(archive(tmp_path), tmp_path) == [
        "/home/a/.profile",
        "/lib/systemd/system/getty@.service",
        "/lib/systemd/system/x.service",
        "/usr/sbin/logrotate",
    ]


def test_fifos_and_endless_files_are_left_out(tmp_path: Path) -> None:
    create_files(tmp_path, "home/a/.bashrc", "home/a/.ssh/config")
    os.mkfifo(tmp_path / "home/a/.profile")
    os.mkfifo(tmp_path / "home/a/.ssh/fifo")
    with (tmp_path / "home/a/.ssh/sparse").open("wb") as stream:
        stream.truncate(1 << 40)
    assert names(archive(tmp_path), tmp_path) == [
        "/home/a/.bashrc",
        "/home/a/.ssh",
        "/home/a/.ssh/config",
    ]


def test_file_name_is_never_an_option_of_tar(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    odd = f"x --checkpoint=1 --checkpoint-action=exec=touch${{IFS}}{mark.name} y.conf"
    create_files(
        tmp_path,
        f"home/ethos/{odd}",
        "home/ethos/a\n--to-command=false\n.conf",
        "home/ethos/.ssh/--checkpoint-action=exec=touch mark",
    )
    members = names(archive(tmp_path), tmp_path)
    assert f"/home/ethos/{odd}" in members
    assert len(members) == 4
    assert not list(tmp_path.rglob("mark"))

"""What the archive of a backup contains of homes: the shell of its task, on files."""

from __future__ import annotations

import os
import subprocess
import tarfile
from pathlib import Path

import yaml

from tests.unit.playbooks.playbook_shell import (
    PLAYBOOKS,
    evaluate_expression,
    render_template,
    tasks,
)

TASK = tasks("backup.yml")["Archive of the settings before"]
_COMPUTED = (
    *("_settings_in_homes", "_settings_elsewhere", "_in_homes", "_kept_paths", "_kept_folders"),
)
VARIABLES = yaml.safe_load((PLAYBOOKS / "backup.yml").read_text())[0]["vars"]


def archive(root: Path, *paths: str, around: tuple[str, ...] = ()) -> list[tarfile.TarInfo]:
    """Archive the homes in a folder, and `paths`, as the task does; return the members.

    around: the files with settings for miners.
    """
    given = ("backup_in_homes", "backup_in_own_homes", "backup_largest_mib", "backup_left_out")
    variables = {name: VARIABLES[name] for name in given}
    variables["backup_paths"] = [str(root / path) for path in ("missing", *paths)]
    variables["_settings_kept"] = list(around)
    for name in _COMPUTED:
        variables[name] = evaluate_expression(VARIABLES[name], **variables)
    command = render_template(TASK["ansible.builtin.shell"]["cmd"], **variables)
    folder = root / "backup"
    folder.mkdir()
    subprocess.run(
        ["/bin/bash", "-c", command.replace("/home", f"{root}/home")],
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


def test_files_with_settings_for_miners_are_archived(tmp_path: Path) -> None:
    create_files(
        tmp_path, "home/a/.gitconfig", "home/a/.config/git/config", "home/a/.config/x", "lib/unit"
    )
    (tmp_path / "home/a/.npmrc").write_text("x")
    around = ("/home/a/.gitconfig", "/home/a/.config/git/config", str(tmp_path / "lib/unit"))
    assert names(archive(tmp_path, around=around), tmp_path) == [
        "/home/a/.config/git/config",
        "/home/a/.gitconfig",
        "/lib/unit",
    ]


def test_symlink_is_archived_as_a_symlink(tmp_path: Path) -> None:
    create_files(tmp_path, "secret/id", "home/a/.bashrc")
    (tmp_path / "home/a/.ssh").symlink_to(tmp_path / "secret")
    (tmp_path / "home/a/.config").symlink_to(tmp_path / "secret")
    (tmp_path / "secret/autostart").mkdir()
    create_files(tmp_path, "secret/autostart/x.desktop")
    (tmp_path / "home/a/.profile").symlink_to(tmp_path / "secret/id")
    members = archive(tmp_path)
    assert names(members, tmp_path) == ["/home/a/.bashrc", "/home/a/.profile", "/home/a/.ssh"]
    assert [member.issym() for member in members].count(True) == 2


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

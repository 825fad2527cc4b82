"""What root's file modules refuse and accept in a folder that a user controls."""

from __future__ import annotations

import importlib
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from provision.remote.host import ModuleFailure, ModuleHost
from provision.remote.options import normalize
from tests.lab.files.attacker import SECRET, UID, Field, as_user, field

OWNER = {"owner": str(UID), "group": str(UID)}


@pytest.fixture
def site() -> Iterator[Field]:
    with field() as ground:
        yield ground


def run(module: str, **args: Any) -> dict[str, Any]:
    imported = importlib.import_module(f"provision.remote.modules.{module}")
    return dict(imported.run(normalize(module, imported.OPTIONS, args), ModuleHost(diff=True)))


def run_refused(module: str, **args: Any) -> str:
    """Run a module that must fail; return its message."""
    with pytest.raises(ModuleFailure) as failure:
        run(module, **args)
    return failure.value.msg


def user_link(site: Field, target: Path | str, name: str = "t") -> str:
    path = site.home / name
    as_user(lambda: os.symlink(target, path))
    return str(path)


def user_file(site: Field, name: str = "t", content: str = "mine\n") -> str:
    path = site.home / name

    def write() -> None:
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)

    as_user(write)
    return str(path)


WRITERS: dict[str, tuple[str, dict[str, Any]]] = {
    "copy": ("copy", {"dest": "{}", "content": "x", "follow": True}),
    "lineinfile": ("lineinfile", {"path": "{}", "line": "x"}),
    "blockinfile": ("blockinfile", {"path": "{}", "block": "x"}),
    "replace": ("replace", {"path": "{}", "regexp": ".", "replace": "x"}),
    "cron": ("cron", {"cron_file": "{}", "name": "n", "job": "x", "user": "root"}),
    "get_url": ("get_url", {"url": "file:///etc/os-release", "dest": "{}", "force": True}),
    "touch": ("file", {"path": "{}", "state": "touch"}),
    "mode": ("file", {"path": "{}", "mode": "0666"}),
    "owner": ("file", {"path": "{}", "state": "file", **OWNER}),
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("goal", ["shadow", "conf", "new"])
def test_user_symlink_to_a_root_file_is_refused(site: Field, name: str, goal: str) -> None:
    if goal == "new" and name in ("replace", "mode", "owner", "lineinfile", "blockinfile"):
        goal = "sub/conf"
    before = site.state()
    path = user_link(site, site.protected / goal)
    module, args = WRITERS[name]
    msg = run_refused(module, **{k: path if v == "{}" else v for k, v in args.items()})
    for part in (path, f"user {UID} controls", "belongs to user root", "Remove the symlink"):
        assert part in msg
    assert site.state() == before


@pytest.mark.parametrize("name", WRITERS)
def test_hard_link_to_a_root_file_is_refused(site: Field, name: str) -> None:
    before = site.state()
    path = site.home / "t"
    os.link(site.secret, path)
    module, args = WRITERS[name]
    msg = run_refused(module, **{k: str(path) if v == "{}" else v for k, v in args.items()})
    assert "2 hard links" in msg
    assert f"user {UID}" in msg
    os.unlink(path)
    assert site.state() == before


@pytest.mark.parametrize("name", WRITERS)
def test_user_symlink_in_the_path_is_refused(site: Field, name: str) -> None:
    before = site.state()
    path = user_link(site, site.protected) + "/conf"
    module, args = WRITERS[name]
    assert "refused" in run_refused(
        module, **{k: path if v == "{}" else v for k, v in args.items()}
    )
    assert site.state() == before


def test_reads_are_limited_to_what_the_user_can_read(site: Field) -> None:
    for path in (
        user_link(site, site.secret, "a"),
        user_link(site, site.protected, "b") + "/shadow",
    ):
        assert "shadow" in run_refused("slurp", src=path)
        assert "shadow" in run_refused("stat", path=path, follow=True)
        assert "shadow" in run_refused("copy", src=path, dest=f"{site.home}/c", remote_src=True)
        assert "shadow" in run_refused("get_url", url=f"file://{path}", dest=f"{site.home}/c")
        assert "shadow" in run_refused("wait_for", path=path, search_regex="x", timeout=0)
    os.link(site.secret, site.home / "hard")
    assert "hard links" in run_refused("slurp", src=f"{site.home}/hard")
    result = run("find", paths=[str(site.home)], contains="root's", recurse=True, follow=True)
    assert result["files"] == []
    assert len(result["skipped_paths"]) == 3
    # The same of a file that every user can read.
    assert run("slurp", src=user_link(site, site.protected / "conf", "d"))["content"]
    assert run("stat", path=f"{site.home}/d", follow=True)["stat"]["checksum"]


def test_a_fifo_does_not_hang(site: Field) -> None:
    path = f"{site.home}/fifo"
    as_user(lambda: os.mkfifo(path))
    attempts: dict[str, dict[str, Any]] = {
        "slurp": {"src": path},
        "lineinfile": {"path": path, "line": "x"},
        "copy": {"dest": path, "content": "x"},
        "get_url": {"url": f"file://{path}", "dest": f"{site.home}/x"},
        "wait_for": {"path": path, "search_regex": "x", "timeout": 0},
    }
    for module, args in attempts.items():
        assert "FIFO" in run_refused(module, **args)
    assert run("find", paths=[str(site.home)], contains="x", file_type="any")["matched"] == 1
    assert run("stat", path=path)["stat"]["isfifo"]
    assert "FIFO" in run_refused(
        "copy", src=f"{site.home}/", dest=f"{site.protected}/x", remote_src=True
    )


def test_a_sparse_file_is_not_read(site: Field) -> None:
    path = user_file(site)
    as_user(lambda: os.truncate(path, 1 << 40))
    assert "larger than" in run_refused("slurp", src=path)
    assert "larger than" in run_refused("lineinfile", path=path, line="x")
    result = run("find", paths=[str(site.home)], contains="x")
    assert (result["matched"], list(result["skipped_paths"])) == (0, [path])


def test_user_symlinks_to_user_files_are_followed(site: Field) -> None:
    user_file(site, "dotfiles/profile")
    path = user_link(site, "dotfiles/profile", ".profile")
    assert run("lineinfile", path=path, line="added")["changed"]
    file = site.home / "dotfiles/profile"
    assert file.read_text() == "mine\nadded\n"
    assert file.stat().st_uid == UID
    assert (site.home / ".profile").is_symlink()
    # As well to a folder of the user's somewhere else.
    data = site.protected / "data"
    data.mkdir()
    os.chown(data, UID, UID)
    models = user_link(site, data, "models")
    assert run("file", path=models, state="directory", mode="0700")["changed"]
    assert run("copy", dest=f"{models}/a", content="x", **OWNER)["changed"]
    assert (data / "a").stat().st_uid == UID


def test_root_symlinks_are_followed(site: Field) -> None:
    link = site.protected / "link"
    link.symlink_to("sub")
    assert run("lineinfile", path=f"{link}/conf", line="added")["changed"]
    shared = site.protected / "tmp"
    shared.mkdir()
    shared.chmod(0o1777)
    (shared / "link").symlink_to(site.protected / "conf")
    assert run("lineinfile", path=f"{shared}/link", line="added")["changed"]
    # Where anybody could have moved it from another folder, it is not followed.
    shared.chmod(0o777)
    assert "several users control" in run_refused("lineinfile", path=f"{shared}/link", line="more")
    assert run("stat", path="/etc/os-release", follow=True)["stat"]["exists"]


def test_root_symlink_that_the_user_moved_is_refused(site: Field) -> None:
    (site.home / "link").symlink_to(site.secret)
    as_user(lambda: os.rename(site.home / "link", site.home / "t"))
    assert f"user {UID} controls" in run_refused("lineinfile", path=f"{site.home}/t", line="x")


def test_created_folders_get_the_requested_owner_and_mode(site: Field) -> None:
    path = site.home / "a" / "b"
    assert run("file", path=str(path), state="directory", mode="0750", **OWNER)["changed"]
    for folder in (path.parent, path):
        info = folder.stat()
        assert (info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode)) == (UID, UID, 0o750)
    assert not run("file", path=str(path), state="directory", mode="0750", **OWNER)["changed"]


def test_planted_file_in_a_shared_folder_is_replaced_safely(site: Field) -> None:
    shared = site.protected / "tmp"
    shared.mkdir()
    shared.chmod(0o1777)
    planted = shared / "settings"
    for mode, expected in ((0o666, 0o644), (0o600, 0o600)):

        def plant(mode: int = mode) -> None:
            planted.write_text("x")
            planted.chmod(mode)

        as_user(plant)
        assert run("copy", dest=str(planted), content=SECRET)["changed"]
        info = planted.stat()
        assert (info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode)) == (0, 0, expected)
        planted.unlink()


def test_the_backup_of_a_file_is_not_written_through_a_symlink(site: Field) -> None:
    path = user_file(site)
    now = time.time()

    def plant() -> None:
        for second in range(-1, 10):
            stamp = time.strftime("%Y-%m-%d@%H:%M:%S", time.localtime(now + second))
            os.symlink(site.protected / "new", f"{path}.{os.getppid()}.{stamp}~")

    as_user(plant)
    assert "can't back up" in run_refused("lineinfile", path=path, line="x", backup=True)
    assert not (site.protected / "new").exists()


def test_file_cannot_be_replaced_between_validation_and_use(site: Field) -> None:
    path = user_file(site)
    script = site.protected / "check"
    script.write_text('#!/bin/sh\nstat -c "%U %a" "$(dirname "$1")" >"$2"; cat "$1" >>"$2"\n')
    script.chmod(0o755)
    seen = site.protected / "seen"
    run("lineinfile", path=path, line="x", validate=f"{script} %s {seen}")
    assert seen.read_text() == "root 700\nmine\nx\n"
    assert os.stat(path).st_uid == UID


def test_recursion_stays_below_the_folder(site: Field) -> None:
    user_file(site, "sub/file")
    user_link(site, site.protected, "sub/out")
    before = site.state()
    path = str(site.home / "sub")
    assert "follow: false" in run_refused("file", path=path, recurse=True, mode="a+rwX")
    assert run("file", path=path, recurse=True, mode="go=", follow=False)["changed"]
    assert site.state() == before
    assert run("file", path=path, state="absent")["changed"]
    assert not os.path.exists(path)
    assert site.state() == before


def test_tree_deeper_than_the_longest_path_is_refused(site: Field) -> None:
    top = site.home / "deep"

    def dig() -> None:
        top.mkdir()
        os.chdir(top)
        for _ in range(3000):
            os.mkdir("d")
            os.chdir("d")

    as_user(dig)
    assert "nested folders" in run_refused("file", path=str(top), recurse=True, mode="0700")
    assert run("file", path=str(top), state="absent")["changed"]
    assert not top.exists()


def test_a_command_does_not_run_in_a_folder_that_a_symlink_names(site: Field) -> None:
    path = user_link(site, site.protected)
    assert "refused" in run_refused("command", cmd="touch new", chdir=path)
    assert run("command", cmd="pwd", chdir=str(site.home))["stdout"] == str(site.home)
    assert not (site.protected / "new").exists()


def test_become_user_worker_has_only_that_users_rights(site: Field) -> None:
    """With become_user, all paths are checked as for that user, who owns the worker's folder."""

    def work() -> None:
        home = site.home
        run("file", path=f"{home}/a/b", state="directory", mode="0700")
        run("copy", dest=f"{home}/a/file", content="x", mode="0600")
        os.symlink("file", home / "a/link")
        assert run("lineinfile", path=f"{home}/a/link", line="y", backup=True)["backup"]
        assert run("copy", dest=f"{home}/a/v", content="x", validate="grep x %s")["changed"]
        os.link(home / "a/file", home / "a/hard")
        run("file", path=f"{home}/a/hard", mode="0640")
        run("file", path=f"{home}/a", recurse=True, mode="u+rwX")
        assert run("find", paths=[str(home)], recurse=True, contains="y")["matched"] == 2
        assert "Permission denied" in run_refused("slurp", src=str(site.secret))
        run("file", path=f"{home}/a", state="absent")
        assert os.listdir(home) == []

    as_user(work)


def test_check_mode_refuses_the_same_paths(site: Field) -> None:
    path = user_link(site, site.protected / "conf")
    for module, args in WRITERS.values():
        imported: Any = importlib.import_module(f"provision.remote.modules.{module}")
        asked = {k: path if v == "{}" else v for k, v in args.items()}
        with pytest.raises(ModuleFailure):
            imported.run(normalize(module, imported.OPTIONS, asked), ModuleHost(check=True))

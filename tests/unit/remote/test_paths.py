"""How paths are resolved, as far as a user without root's rights can test it."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from provision.remote.files import backup, read_bytes, resolve, write_bytes
from provision.remote.host import ModuleFailure
from provision.remote.paths import UnsafePath, reach, via
from provision.remote.trees import remove, walk
from provision.remote.trust import is_private, link_controller, trusted_owners


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/file").write_text("content")
    (tmp_path / "a/up").symlink_to("../a/b/../b/file")
    (tmp_path / "whole").symlink_to(tmp_path / "a")
    (tmp_path / "slash").symlink_to("a/")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("a/none")
    return tmp_path


@pytest.mark.parametrize(
    "path",
    [
        "a/b/file",
        "a/up",
        "whole/up",
        "whole/b/file",
        "a//./b/file",
        "a/b/../../whole/b/file",
        "slash/b/file",
        "../../{}/a/b/file",
        "dangling",
        "whole",
        "a/b/..",
        "a/b/.",
        "a/",
        "slash/",
    ],
)
def test_path_resolves_as_in_the_kernel(tree: Path, path: str) -> None:
    given = f"{tree}/{path}".format(f"{tree.parent.name}/{tree.name}")
    with reach(given) as place:
        assert place.path == os.path.realpath(given)
        assert (place.node is None) is (not Path(given).exists())
        assert place.info is None or os.path.samestat(place.info, Path(given).stat())
    assert resolve(given) == os.path.realpath(given)


def test_root_folder_and_relative_paths_resolve(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in ("/", "/..", "/tmp/.."):
        with reach(path) as place:
            assert place.path == "/"
            assert place.is_kind(stat.S_ISDIR)
    monkeypatch.chdir(tree)
    assert read_bytes("a/up") == b"content"


@pytest.mark.parametrize(
    ("path", "number"),
    [
        ("none/x", errno.ENOENT),
        ("a/b/file/x", errno.ENOTDIR),
        ("a/b/file/", errno.ENOTDIR),
        ("loop", errno.ELOOP),
        ("dangling/x", errno.ENOENT),
    ],
)
def test_errors_match_those_of_the_kernel(tree: Path, path: str, number: int) -> None:
    with pytest.raises(OSError, match=os.strerror(number)) as caught:
        reach(f"{tree}/{path}").__exit__()
    with pytest.raises(OSError, match=os.strerror(number)):
        os.close(os.open(f"{tree}/{path}", os.O_RDONLY))
    assert caught.value.errno == number


def test_no_descriptor_stays_open(tree: Path) -> None:
    before = sorted(Path("/proc/self/fd").iterdir())
    for path in ("a/up", "none/x", "loop", "a/b/file/x", "dangling", "whole", "a/b/.."):
        try:
            with reach(str(tree / path)):
                pass
        except OSError:
            pass
    with reach(str(tree)) as top:
        for _ in walk(top):
            break
    write_bytes(str(tree / "a/b/file"), b"new")
    remove(str(tree / "a"))
    assert sorted(Path("/proc/self/fd").iterdir()) == before


def status(uid: int, mode: int, gid: int = 0) -> os.stat_result:
    return os.stat_result((mode, 1, 1, 1, uid, gid, 0, 0, 0, 0))


ME = os.geteuid()
FOLDER, LINK = stat.S_IFDIR, stat.S_IFLNK | 0o777


@pytest.mark.parametrize(
    ("link", "folder", "controller"),
    [
        (status(0, LINK), status(0, FOLDER | 0o755), None),
        (status(ME, LINK), status(ME, FOLDER | 0o755), None),
        (status(0, LINK), status(0, FOLDER | 0o1777), None),
        (status(0, LINK), status(0, FOLDER | 0o775), None),  # of the group root
        (status(7777, LINK), status(0, FOLDER | 0o1777), 7777),
        (status(7777, LINK), status(0, FOLDER | 0o755), 7777),
        (status(0, LINK), status(7777, FOLDER | 0o755), 7777),
        (status(0, LINK), status(7777, FOLDER | 0o1777), 7777),
        (status(7777, LINK), status(8888, FOLDER | 0o755), 7777),
        (status(0, LINK), status(0, FOLDER | 0o777), -1),
    ],
)
def test_controller_of_a_symlink(
    link: os.stat_result, folder: os.stat_result, controller: int | None
) -> None:
    assert link_controller(link, folder) == controller


def test_folder_of_a_group_with_members_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    from collections import namedtuple

    user = namedtuple("user", "pw_name pw_uid pw_gid")
    group = namedtuple("group", "gr_mem")
    users = [user("root", 0, 0), user("me", ME, 50), user("other", 7777, 60)]
    members: dict[int, list[str]] = {50: [], 60: [], 70: ["root"], 80: ["root", "other"]}
    monkeypatch.setattr("pwd.getpwall", lambda: users)
    monkeypatch.setattr("grp.getgrgid", lambda gid: group(members[gid]))
    private = [gid for gid in members if is_private(status(0, FOLDER | 0o775, gid))]
    assert private == [50, 70]
    assert all(is_private(status(0, FOLDER | 0o755, gid)) for gid in members)
    assert trusted_owners() == (0, ME)


def test_place_refers_to_the_original_file(tree: Path) -> None:
    """A file that takes its name later is not read, written or given away."""
    file, other = tree / "a/b/file", tree / "other"
    other.write_text("other")
    with reach(str(file)) as place:
        file.rename(tree / "moved")
        file.symlink_to(other)
        with os.fdopen(place.open_file(), "rb") as stream:
            assert stream.read() == b"content"
        assert place.node is not None
        Path(via(place.node)).chmod(0o600)
    assert stat.S_IMODE((tree / "moved").stat().st_mode) == 0o600
    assert stat.S_IMODE(other.stat().st_mode) != 0o600


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: os.mknod(path, stat.S_IFSOCK)])
def test_only_regular_files_are_opened(tmp_path: Path, make: Callable[[str], None]) -> None:
    make(str(tmp_path / "x"))
    with reach(str(tmp_path / "x")) as place, pytest.raises(UnsafePath, match="only regular files"):
        place.open_file()


def test_failed_write_leaves_no_file(tree: Path) -> None:
    def refuse(path: str) -> None:
        assert Path(path).read_text() == "new"
        raise UnsafePath("no")

    with pytest.raises(UnsafePath):
        write_bytes(str(tree / "a/b/file"), b"new", inspect=refuse)
    assert [path.name for path in (tree / "a/b").iterdir()] == ["file"]
    assert (tree / "a/b/file").read_text() == "content"


def test_backup_of_a_file_that_was_removed_meanwhile_is_a_failure(tmp_path: Path) -> None:
    with pytest.raises(ModuleFailure, match="back up"):
        backup(str(tmp_path / "gone"))

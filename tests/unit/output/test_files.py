"""Files that are replaced in one step."""

from __future__ import annotations

from pathlib import Path

import pytest

from provision.errors import DeeprigError
from provision.output import files


def test_writing_through_a_symlink_keeps_it(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real/rigs.yml").write_text("old")
    (tmp_path / "rigs.yml").symlink_to("real/rigs.yml")
    files.write(tmp_path / "rigs.yml", "new\r\n")
    assert (tmp_path / "rigs.yml").is_symlink()
    assert (tmp_path / "real/rigs.yml").read_bytes() == b"new\r\n"
    assert files.read(tmp_path / "rigs.yml") == "new\r\n"


def test_writing_keeps_the_mode_and_leaves_no_temporary_file(tmp_path: Path) -> None:
    file = tmp_path / "a.yml"
    file.write_text("old")
    file.chmod(0o640)
    files.write(file, "new")
    assert file.stat().st_mode & 0o777 == 0o640
    files.write(file, "new", 0o600)
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [file]


def test_unwritable_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DeeprigError, match="file/x can't be written: "):
        files.write(tmp_path / "file" / "x", "new")

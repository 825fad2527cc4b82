"""Tools that are unpacked from Debian's packages, by several processes at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.build import tools


def test_package_that_another_process_fetched_meanwhile_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "tools/x"

    def run(command: list[str], where: str) -> None:
        if command[0] == "apt-get":
            Path(where, "x.deb").touch()
            (target / "usr").mkdir(parents=True)  # the other process is done first
        else:
            Path(where, "files/usr").mkdir(parents=True)

    monkeypatch.setattr(tools, "folder", lambda package: target)
    monkeypatch.setattr(tools, "_run", run)
    tools.fetch("x")
    assert (target / "usr").is_dir()
    assert [path.name for path in target.parent.iterdir()] == ["x"]

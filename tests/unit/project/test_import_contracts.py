"""The import contracts of pyproject.toml, checked by import-linter."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    command = Path(sys.executable).with_name("lint-imports")
    return subprocess.run(
        [command, "--no-cache"], cwd=folder, capture_output=True, text=True, check=False
    )


def test_imports_follow_the_contracts() -> None:
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_sideways_import_breaks_a_contract(tmp_path: Path) -> None:
    """The contracts are not empty: with one import too many, lint-imports fails."""
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    for package in ("agent", "provision"):
        for source in (ROOT / package).rglob("*.py"):
            copy = tmp_path / source.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(source.read_text())
    with (tmp_path / "agent/checks/gpu.py").open("a") as file:
        file.write("from agent.checks import host\n")
    done = lint(tmp_path)
    assert done.returncode == 1
    assert "agent.checks.gpu -> agent.checks.host" in done.stdout

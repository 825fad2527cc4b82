"""Imports between the packages go one way (design: fabfile -> provision)."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests import conftest

ROOT = Path(__file__).parents[3]
ROOMS = ("provision", "agent", "lab", "tests", "fabfile")
# A room, and what of ours its files may import.
ALLOWED = {
    "provision/remote": (
        *("provision.remote", "agent.readings.pcie", "agent.readings.command_line"),
    ),
    "provision/boundary": ("provision.boundary", "provision.errors"),
    "agent": ("agent",),
    "provision": ("provision", "agent.readings", "agent.checks.judgements"),
    "fabfile.py": ("provision", "lab"),
}


def list_own_imports(path: Path) -> list[str]:
    """The modules of this project that a file imports."""
    imports = []
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import hides what is imported"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        imports += [name for name in names if name.split(".")[0] in ROOMS]
    return imports


FILES = [
    (room, path)
    for room in ALLOWED
    for path in ([ROOT / room] if room.endswith(".py") else sorted((ROOT / room).rglob("*.py")))
    if room != "provision" or "remote" not in path.relative_to(ROOT).parts
]


@pytest.mark.parametrize(("room", "path"), FILES, ids=[str(p.relative_to(ROOT)) for _, p in FILES])
def test_imports_stay_within_the_allowed_packages(room: str, path: Path) -> None:
    allowed = ALLOWED[room]
    wrong = [
        n
        for n in list_own_imports(path)
        if not any(n == a or n.startswith(a + ".") for a in allowed)
    ]
    assert wrong == []


@pytest.mark.parametrize("room", ["provision", "playbooks", "agent", "inventory"])
def test_product_does_not_mention_the_lab(room: str) -> None:
    for path in (ROOT / room).rglob("*"):
        if path.suffix in (".py", ".yml", ".j2", ".json") and path.name != "lab.yml":
            words = path.read_text().lower().replace("-", " ").split()
            assert "lab" not in words, path
            assert "lab.tasks" not in words, path


def test_checkout_path_is_computed_once() -> None:
    """Only provision/paths.py goes up from its own file."""
    for path in (ROOT / "provision").rglob("*.py"):
        if path != ROOT / "provision" / "paths.py" and "remote" not in path.parts:
            assert not re.search(
                r"__file__\)[\w.()]*\.(parents\[|parent\.parent)", path.read_text()
            ), path


def test_files_have_at_most_400_lines() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for room in ("provision", "agent", "lab", "tests")
        for path in (ROOT / room).rglob("*.py")
        if (lines := len(path.read_text().splitlines())) > 400
    }
    assert long == {}


@pytest.mark.skipif(
    not (ROOT / ".git").exists() or shutil.which("git") is None, reason="no checkout of git's"
)
def test_ignored_files_are_not_tracked() -> None:
    """Private files of an operator (backups, logs, records of rigs) are not tracked."""
    words = [
        "git",
        "-c",
        "safe.directory=*",
        "ls-files",
        "-ci",
        "--exclude-per-directory=.gitignore",
    ]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == []


def test_test_order_lists_existing_files() -> None:
    for name in (*conftest.FIRST, *conftest.SLOW):
        assert (ROOT / "tests" / name).exists(), name

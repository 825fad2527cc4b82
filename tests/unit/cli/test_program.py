"""The `fab` program: flags with new names accept their old ones for one more release."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("flag", "is_known"),
    [("--accept-workstation", True), ("--yes-really", True), ("--no-such-flag", False)],
)
def test_old_flags_are_accepted_and_not_listed(flag: str, is_known: bool, tmp_path: Path) -> None:
    (tmp_path / "rigs.yml").write_text("rigs: {hosts: {attic: {}}}\n")
    words = ["provision", flag, "-H", "cellar", "--inventory", str(tmp_path)]
    command = [sys.executable, "-m", "provision.cli.program"]
    done = subprocess.run([*command, *words], cwd=ROOT, capture_output=True, text=True, check=False)
    # A known flag leads to the error about the host.
    assert ("cellar" in done.stderr) == is_known, done.stderr
    help_text = subprocess.run(
        [*command, "provision", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert (flag in help_text) == (flag == "--accept-workstation")

"""The documents match the code."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest

from agent import VERSION
from provision.engine import module_registry
from provision.engine.keywords import PLAY, TASK
from provision.errors import ExitStatus
from provision.templating import filters

ROOT = Path(__file__).parents[3]
PLAYBOOKS = (ROOT / "docs" / "playbooks.md").read_text()
NAMES = sorted(
    module_registry.action_names() | module_registry.remote_names() | module_registry.STATIC
)


@pytest.mark.parametrize("name", NAMES)
def test_every_module_and_option_is_listed(name: str) -> None:
    row = re.search(rf"^\| `{name}` \| (.*) \|$", PLAYBOOKS, re.MULTILINE)
    assert row, f"{name} has no row in docs/playbooks.md"
    if name not in module_registry.STATIC:
        options = {option for option in module_registry.options(name) if not option.startswith("_")}
        assert set(re.findall(r"`(\w+)`", row.group(1))) == options


def test_every_keyword_filter_and_test_is_listed() -> None:
    listed = set(re.findall(r"`(\w+)`", PLAYBOOKS))
    assert set(PLAY) | set(TASK) <= listed
    assert set(filters.FILTERS) | set(filters.TESTS) <= listed


@pytest.mark.parametrize("path", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))])
def test_links_have_existing_targets(path: Path) -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", path.read_text()):
        assert (path.parent / target).exists(), target


def test_every_exit_status_is_in_the_readme() -> None:
    rows = re.findall(r"^\| (\d+) \| (\w+) \|", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert rows == [(str(status.value), status.name) for status in ExitStatus]


def test_picture_contains_every_label_of_its_source() -> None:
    """Every label of architecture.dot is in the SVG."""
    drawn = html.unescape((ROOT / "docs" / "architecture.svg").read_text())
    text = (ROOT / "docs" / "architecture.dot").read_text()
    for label in re.findall(r'label="([^"]+)"', text):
        for line in re.split(r"\\[nl]", label):
            assert line.strip() in drawn, line


def test_version_number_is_defined_once() -> None:
    assert 'dynamic = ["version"]' in (ROOT / "pyproject.toml").read_text()
    releases = re.findall(r"^## (\d[\d.]*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert releases[0] == VERSION

"""Invalid playbooks: each is a file in playbooks/bad, with its expected error."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from provision.engine import playbook
from provision.errors import DeeprigError, describe

BAD = sorted((Path(__file__).parent / "playbooks" / "bad").glob("*.yml"))


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_error_names_file_line_and_the_expected_value(path: Path) -> None:
    head = path.read_text()
    line, column, message = re.findall(r"^# error: (\d+):(\d+): (.*)$", head, re.MULTILINE)[0]
    task = re.findall(r"^# task: (.*)$", head, re.MULTILINE)

    with pytest.raises(DeeprigError) as caught:
        playbook.load(path)

    error = caught.value
    assert error.position is not None
    assert Path(error.position.path).resolve() == path
    assert (error.position.line, error.position.column) == (int(line), int(column)), error.message
    assert message in error.message
    assert not task or error.task == task[0]
    story = describe(error, "rig")
    assert f"{path.name}:{line}:{column}" in story
    assert "host: rig" in story


def test_missing_playbook_is_an_error() -> None:
    with pytest.raises(DeeprigError, match=r"the file nowhere\.yml does not exist"):
        playbook.load("nowhere.yml")


@pytest.mark.parametrize(
    "play",
    [
        "{hosts: [all, 5], 5: x}",
        "{hosts: all, tasks: [{debug: {5: x}}]}",
        "{hosts: all, tasks: [{debug: {msg: x}, notify: [{a: b}, [c]]}]}",
        "{5: x}",
        "{hosts: all, tasks: [{import_tasks: [1]}]}",
    ],
)
def test_invalid_types_are_errors_with_a_position(tmp_path: Path, play: str) -> None:
    (tmp_path / "play.yml").write_text(f"- {play}\n")
    with pytest.raises(DeeprigError) as caught:
        playbook.load(tmp_path / "play.yml")
    assert caught.value.position is not None

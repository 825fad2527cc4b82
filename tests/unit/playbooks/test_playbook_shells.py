"""Shell lines of the playbooks: names are never words, options or paths through a user's folder."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from tests.unit.playbooks.playbook_shell import PLAYBOOKS, tasks

FILES = sorted(
    str(path.relative_to(PLAYBOOKS))
    for folder in (PLAYBOOKS, PLAYBOOKS / "tasks")
    for path in (folder.glob("*.yml") if folder == PLAYBOOKS else folder.rglob("*.yml"))
)
#: Tasks that read or move something in a home; comments in the playbooks explain why it is safe.
IN_HOMES = {
    "Archive of the settings before",
    "Folders of homes that were put aside",
    "Keys that were let in then",  # paths in the archive
}


def lines(file: str) -> list[tuple[str, str]]:
    """The name and the command of each task of a file that runs one."""
    commands = []
    for name, task in tasks(file).items():
        for module in ("shell", "command"):
            options: Any = task.get(f"ansible.builtin.{module}", {})
            if text := options if isinstance(options, str) else options.get("cmd", ""):
                commands.append((name, text))
    return commands


@pytest.mark.parametrize("file", FILES)
def test_file_names_are_never_split_or_options(file: str) -> None:
    for name, text in lines(file):
        assert not re.search(r"\$\((ls|find|echo)\b", text), f"{name}: words of names"
        assert not re.search(r"xargs(?! (-0|--null))", text), f"{name}: words of names"
        assert not re.search(r"-exec\b.*\bsh -c\b.*\{\}", text), f"{name}: names as code"
        for moved in re.findall(r"\bmv (?:-[-\w=]+ )*(\S+)", text):
            is_fixed_name = moved.startswith(('"$name', "SHA256SUMS", "before.tar.gz", "packages/"))
            assert is_fixed_name or moved == "{{" or " -- " in text, f"{name}: mv {moved}"


@pytest.mark.parametrize("file", FILES)
def test_homes_are_changed_by_modules_only(file: str) -> None:
    for name, text in lines(file):
        if name not in IN_HOMES:
            assert "/home" not in text, name
            assert not re.search(r">+ *\"?\$\{?(FILE|path|home)\b", text), f"{name}: writes a path"
            assert ".deeprig" not in text, f"{name}: a scratch file beside a user's"


def test_every_task_has_a_name() -> None:
    for file in FILES:
        for entry in yaml.safe_load((PLAYBOOKS / file).read_text()):
            assert entry.get("name") or "ansible.builtin.import_playbook" in entry, file

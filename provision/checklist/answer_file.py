"""What a checklist remembers of a rig: answers, and what was last seen. A file of host_vars."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

from provision.checklist.checklist import Checklist, LastLook
from provision.errors import Position, SourceError
from provision.inventory import yaml_source
from provision.inventory.hosts import Inventory
from provision.output import files

VARIABLE = "checklist"


def file_of(inventory: Inventory, name: str) -> Path:
    """Return where it is kept."""
    return inventory.folder / "host_vars" / name / "checklist.yml"


def load(path: Path) -> tuple[dict[str, bool], LastLook]:
    """Answers by item, and the last look. Raises SourceError with the place of what is wrong."""
    content = _mapping(_read(path), VARIABLE)
    answers = _mapping(content, "answers")
    for name, value in answers.items():
        if not isinstance(value, bool):
            raise SourceError(f"the answer to '{name}' should be true or false", answers.at(name))
    return dict(answers), cast(LastLook, dict(_mapping(content, "seen")))


def merge_observations(made: Checklist, before: LastLook) -> LastLook:
    """Return the new observations, or the old ones where no rig was inspected."""
    if made.case.facts is None:
        return before
    return {
        "boot_id": made.case.facts["boot_id"],
        "items": {entry.id: entry.status for entry in made.entries if entry.by == "seen"},
    }


def save(path: Path, name: str, answers: Mapping[str, bool], seen: LastLook) -> None:
    """Keep answers and what was seen, if they are others than before, and the file's other keys."""
    if (answers, seen) == load(path):
        return
    content = _read(path)
    content[VARIABLE] = {
        **_mapping(content, VARIABLE),
        "answers": {answer: answers[answer] for answer in sorted(answers)},
        "seen": yaml_source.mark_unsafe(seen),  # the rig's own words
    }
    header = (
        f"# Answers of fab checklist for {name}; you may edit them. Observations only\n"
        "# show what a reboot changed. Other keys are kept, other comments are not.\n"
    )
    files.write(path, f"---\n{header}{yaml_source.dump_yaml(content)}")


def _read(path: Path) -> yaml_source.YamlMapping:
    content = yaml_source.load_yaml(path) if path.exists() else None
    if content is not None and not isinstance(content, yaml_source.YamlMapping):
        raise SourceError(f"{path} should have variables", Position(str(path), 1, 1))
    return content or yaml_source.YamlMapping()


def _mapping(content: yaml_source.YamlMapping, name: str) -> yaml_source.YamlMapping:
    """Return one below another; empty where it is not there."""
    value = content.get(name)
    if value is not None and not isinstance(value, yaml_source.YamlMapping):
        raise SourceError(f"'{name}' should be a mapping, not {value!r}", content.at(name))
    return value or yaml_source.YamlMapping()

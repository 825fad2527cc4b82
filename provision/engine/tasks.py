"""Plays and tasks as loaded: each with all that it inherits, templates not rendered."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from provision.errors import Position
from provision.inventory.yaml_source import YamlMapping


@dataclass(frozen=True)
class Scope:
    """What a task inherits from its play, blocks and imports."""

    when: tuple[Any, ...] = ()
    tags: frozenset[str] = frozenset()
    variables: dict[str, Any] = field(default_factory=dict)
    environment: tuple[Any, ...] = ()
    become: bool | None = None
    become_user: str | None = None
    ignore_errors: bool | None = None
    check_mode: bool | None = None
    diff: bool | None = None
    no_log: bool | None = None


@dataclass(frozen=True)
class Task:
    """One task, with all that it inherits. `args` are as written: templates are not rendered."""

    name: str
    module: str
    args: YamlMapping
    position: Position
    scope: Scope
    register: str | None = None
    loop: Any = None
    loop_var: str = "item"
    label: Any = None
    notify: tuple[str, ...] = ()
    listen: tuple[str, ...] = ()
    changed_when: tuple[Any, ...] | None = None
    failed_when: tuple[Any, ...] | None = None

    @property
    def title(self) -> str:
        """What the operator calls it: its name, or else its module."""
        return self.name or self.module


@dataclass(frozen=True)
class Play:
    """Tasks for the hosts of a pattern. `step` is the name of its file."""

    name: str
    step: str
    hosts: str
    position: Position
    folder: Path
    tasks: tuple[Task, ...]
    handlers: tuple[Task, ...]
    variables: dict[str, Any]
    gather_facts: bool
    scope: Scope

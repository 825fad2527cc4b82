"""What the operator's side does itself: one file per Ansible action, with `OPTIONS` and `act`.

`act(args, context)` returns one of
- a result (a dict): the action is done, nothing goes to the rig;
- `Remote`: this module with these arguments is to run on the rig;
- `Control`: something about the run itself, which the runner does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from provision.engine.tasks import Task
from provision.errors import RenderError
from provision.templating.templar import Templar


@dataclass(frozen=True)
class Remote:
    """A module call on the rig."""

    module: str
    args: dict[str, Any]


@dataclass(frozen=True)
class Control:
    """What only the runner can do: `name` is a verb of its own."""

    name: str
    args: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Context:
    """What an action may use: its task, the variables, and the folders files are looked up in."""

    task: Task
    templar: Templar
    folder: Path

    def find(self, name: str, subfolder: str) -> Path:
        """A file of the playbook's, as Ansible looks it up. Raises RenderError."""
        beside = Path(self.task.position.path).parent
        candidates = [
            base / part / name for base in (beside, self.folder) for part in (subfolder, ".")
        ]
        for candidate in candidates:
            if candidate.exists():
                return candidate
        raise RenderError(
            f"there is no {name} in {subfolder}/ beside the playbook", self.task.args.at("src")
        )

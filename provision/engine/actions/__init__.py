"""What the operator's side does itself: one file per Ansible action, with `OPTIONS` and `act`.

`act(args, context)` returns one of
- a `Result`: the action is done, nothing goes to the rig;
- a `RemoteCall`: the rig runs this module with these arguments;
- a `Control`: something about the run itself, which the runner does.

An action that renders a template file has `read_templates(args, context)`, which returns its text:
the names in it are known before it is rendered.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from provision.engine.tasks import Task
from provision.errors import RenderError
from provision.templating.templar import Templar


@dataclass(frozen=True)
class RemoteCall:
    """A module call on the rig."""

    module: str
    args: dict[str, Any]


@dataclass(frozen=True)
class Control:
    """What only the runner can do: `flush_handlers`, `end_host`, `noop` or `reboot`."""

    name: str
    args: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ActionContext:
    """What an action may use: its task, the variables, and the folders files are looked up in."""

    task: Task
    templar: Templar
    folder: Path

    def find(self, name: str, subfolder: str) -> Path:
        """Return a file of the playbook's, as Ansible looks it up. Raises RenderError."""
        beside = Path(self.task.position.path).parent
        candidates = [
            base / part / name for base in (beside, self.folder) for part in (subfolder, ".")
        ]
        for candidate in candidates:
            if candidate.exists():
                return candidate
        raise RenderError(
            f"{subfolder}/{name} does not exist beside the playbook", self.task.args.at("src")
        )

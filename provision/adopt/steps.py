"""What adopting a rig did, step by step, and how it is shown."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypedDict

from rich.console import Console
from rich.text import Text

from provision.output.tables import Grid

Status = Literal["ok", "changed", "would change", "left", "failed"]
NAME, STATUS = 10, 13  # columns
COLOURS = {"changed": "yellow", "would change": "yellow", "failed": "red"}


class StepDocument(TypedDict):
    """A step, as JSON has it."""

    name: str
    status: Status
    text: str


class AdoptionDocument(TypedDict):
    """A report, as JSON has it."""

    address: str
    name: str
    changed: bool
    steps: list[StepDocument]


@dataclass(frozen=True)
class AdoptionStep:
    """One step. left: not done, for the reason in `text`; this is not a failure."""

    name: str
    status: Status
    text: str


@dataclass
class AdoptionReport:
    """The steps of one rig, printed as they are done."""

    address: str
    console: Console | None
    name: str = ""
    steps: list[AdoptionStep] = field(default_factory=list)

    def add(self, name: str, status: Status, text: str) -> None:
        """Keep a step, and show it."""
        self.steps.append(AdoptionStep(name, status, text))
        if self.console is None:
            return
        if len(self.steps) == 1:
            self.console.print(self.address, style="bold")
        grid = Grid(self.console, NAME, STATUS)
        grid.add_row(name, Text(status, COLOURS.get(status, "")), text)
        grid.print()

    @property
    def failed(self) -> bool:
        """Whether a step failed."""
        return any(step.status == "failed" for step in self.steps)

    def document(self) -> AdoptionDocument:
        """Return the report as JSON has it."""
        return {
            "address": self.address,
            "name": self.name,
            "changed": any(step.status in ("changed", "would change") for step in self.steps),
            "steps": [
                {"name": step.name, "status": step.status, "text": step.text} for step in self.steps
            ],
        }

"""The checklist's items: rows of items.yml, and which of them a rig needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
from jinja2.sandbox import SandboxedEnvironment

from provision.checklist.conditions import CONDITIONS
from provision.checklist.configuration import RigConfiguration
from provision.checklist.observations import OBSERVERS
from provision.errors import SourceError
from provision.hardware.confidence import Confidence
from provision.inventory import typed_rows, yaml_source

TABLE = Path(__file__).parent / "items.yml"


@dataclass(frozen=True)
class Item:
    """A row; items.yml explains the fields. It has either `observe` or `ask`."""

    id: str
    group: str
    title: str
    how: str
    why: str
    source: str
    confidence: Confidence
    when: tuple[str, ...] = ()
    observe: str = ""
    ask: str = ""
    words: tuple[str, ...] = ()

    def applies(self, case: RigConfiguration) -> bool:
        """Return whether this rig needs it."""
        return all(CONDITIONS[name](case) for name in self.when)

    def describe(self, case: RigConfiguration) -> str:
        """Return what to do on this rig."""
        template = SandboxedEnvironment(undefined=jinja2.StrictUndefined).from_string(self.how)
        return " ".join(
            template.render(
                board=case.board,
                chipset=case.chipset,
                cpu=case.cpu,
                cards=case.cards,
                count=case.count,
                wanted=case.wanted,
                psus=case.psus,
            ).split()
        )

    def menu_known(self, case: RigConfiguration) -> bool:
        """Return whether the board's own menu is known, so that no search words are needed."""
        return self.id == "split" and case.board is not None and bool(case.board.menu)


def load(path: Path = TABLE) -> list[Item]:
    """Return all items. Raises SourceError with the place of what is wrong."""
    content = yaml_source.load_yaml(path)
    items = typed_rows.read_rows(Item, content, "items")
    seen: set[str] = set()
    for fields, item in zip(content["items"], items, strict=True):
        for name in item.when:
            if name not in CONDITIONS:
                raise SourceError(
                    f"unknown condition '{name}'",
                    fields.at("when"),
                    typed_rows.suggest_names(name, CONDITIONS),
                )
        if bool(item.observe) == bool(item.ask):
            raise SourceError("an item is observed, or asked for: one of the two", fields.position)
        if item.observe and item.observe not in OBSERVERS:
            raise SourceError(
                f"unknown observation '{item.observe}'",
                fields.at("observe"),
                typed_rows.suggest_names(item.observe, OBSERVERS),
            )
        if item.id in seen:
            raise SourceError(f"'{item.id}' is there already", fields.at("id"))
        seen.add(item.id)
    return items


def applicable_items(case: RigConfiguration, items: Sequence[Item] | None = None) -> list[Item]:
    """Return the items that apply to a rig."""
    return [item for item in (load() if items is None else items) if item.applies(case)]

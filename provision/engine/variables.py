"""The variables of one host in the course of a run, strongest last (Ansible's order):

settings' defaults < inventory < facts < play < block and task < set_fact and registered < extra
(-e) < the loop's item and what Ansible itself defines (inventory_hostname, groups …).

Ansible has no such defaults: beside another inventory it wants group_vars/all.yml copied.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from provision.engine.tasks import Play, Task
from provision.inventory import yaml_source
from provision.inventory.hosts import Host, Inventory
from provision.paths import INVENTORY
from provision.templating.names import names_in
from provision.templating.templar import OMIT, RenderedVariables, Templar

FACTS = "ansible_facts"
DEFAULTS = INVENTORY / "group_vars" / "all.yml"


#: What the modules that find facts give, beside names with `ansible_` before them.
_OTHER_FACTS = frozenset(("packages", "gather_subset", "module_setup"))
#: Variables of connections and runs (Ansible's COMMON_CONNECTION_VARS and magic variables).
_NO_FACTS = re.compile(
    r"ansible_(?:host|port|user|password|connection|timeout|pipelining|check_mode|diff_mode|facts|"
    r"version|search_path|(?:ssh|become|su|sudo|sftp|scp|paramiko|private_key|shell|play|remote|"
    r"loop|role|run|skip|config|inventory|delegated)(?:_.*)?|.*_(?:interpreter|pass|password|"
    r"executable))"
)


def _is_fact(name: str) -> bool:
    if name in _OTHER_FACTS:
        return True
    return name.startswith("ansible_") and not _NO_FACTS.fullmatch(name)


class Facts(Mapping[str, Any]):
    """Facts under their `ansible_*` names, and all of them as `ansible_facts`."""

    def __init__(self) -> None:
        self._by_name: dict[str, Any] = {}

    def update(self, facts: Mapping[str, Any]) -> None:
        """Add what a `setup` (or another module that finds facts) returned.

        Facts override the inventory and come from a rig: only names of facts are accepted, and
        none that configures a connection or a run. An interface may be called
        `become_password`.
        """
        self._by_name.update({name: facts[name] for name in facts if _is_fact(name)})

    def __contains__(self, name: object) -> bool:
        return name == FACTS or name in self._by_name

    def __getitem__(self, name: str) -> Any:
        if name == FACTS:
            # Ansible drops the prefix here, but for ansible_local.
            return {
                key if key == "ansible_local" else key.removeprefix("ansible_"): value
                for key, value in self._by_name.items()
            }
        return self._by_name[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name) + 1


@functools.cache
def defaults() -> Mapping[str, Any]:
    """Return the playbooks' settings where an inventory elsewhere does not set them."""
    settings: Mapping[str, Any] = yaml_source.load_yaml(DEFAULTS)
    return settings


@functools.cache
def _resolve(folder: Path) -> str:
    return str(folder.resolve())


class HostVariables:
    """All variables of one host.

    registered: results under the names of `register`, and what `set_fact` set. in_flight: names
    whose values tasks on their way to the rig will give, FACTS among them; each with the number
    of those tasks.
    """

    def __init__(
        self,
        host: Host,
        inventory: Inventory,
        extra: Mapping[str, Any],
        check: bool,
        diff: bool,
        on_secret: Callable[[Any], None] | None = None,
    ) -> None:
        self._on_secret = on_secret
        self.facts = Facts()
        self.registered: dict[str, Any] = {}
        self._rendered: dict[int, RenderedVariables] = {}  # by the play
        self.in_flight: Counter[str] = Counter()
        self._host = host
        self._extra = extra
        self._magic: dict[str, Any] = {
            "inventory_hostname": host.name,
            "inventory_hostname_short": host.name.split(".")[0],
            "inventory_dir": str(inventory.folder.resolve()),
            "group_names": sorted(set(host.groups) - {"ungrouped"}),
            "groups": {name: inventory.members(name) for name in inventory.groups},
            "ansible_check_mode": check,
            "ansible_diff_mode": diff,
            "omit": OMIT,
        }

    def templar(
        self,
        play: Play | None = None,
        task: Task | None = None,
        registered: Mapping[str, Any] | None = None,
        **item: Any,
    ) -> Templar:
        """Return a Templar for a task (and one item of its loop).

        registered: another state of `registered`, for a task that was queued earlier.
        """
        magic = dict(self._magic)
        if play:
            magic["playbook_dir"] = _resolve(play.folder)
        local_names = {*item, *(task.scope.variables if task else ())}
        return Templar(
            [
                defaults(),
                self._host.variables,
                self.facts,
                play.variables if play else {},
                task.scope.variables if task else {},
                self.registered if registered is None else registered,
                self._extra,
                item,
                magic,
            ],
            self._on_secret,
            self._rendered.setdefault(id(play), RenderedVariables())
            if registered is None
            else None,
            local_names,
        )

    def register(self, values: Mapping[str, Any]) -> None:
        """Set variables: what `register` or `set_fact` names."""
        self.registered.update(values)
        for rendered in self._rendered.values():
            rendered.forget(values.keys())

    def add_facts(self, facts: Mapping[str, Any]) -> None:
        """Add facts (see Facts.update)."""
        self.facts.update(facts)
        self._rendered.clear()

    def launch(self, name: str) -> None:
        """Note that a task on its way to the rig gives this variable a value."""
        self.in_flight[name] += 1

    def land(self, name: str) -> None:
        """Note that a task which gives this variable a value is done."""
        self.in_flight[name] -= 1
        self.in_flight += Counter()  # drops what is not awaited any more

    def is_in_flight(
        self, names: Iterable[str], play: Play, task: Task, local: Collection[str] = ()
    ) -> bool:
        """Return whether a task on its way to the rig gives one of these variables a value.

        Variables are followed to the variables that they are made from. local: the loop's item.
        """
        if not self.in_flight:
            return False
        are_facts_awaited = FACTS in self.in_flight
        layers = (task.scope.variables, play.variables)
        pending, seen = list(names), set(local) | self._magic.keys()
        while pending:
            name = pending.pop()
            if name in seen:
                continue
            seen.add(name)
            if name in self._extra:
                pending += names_in(self._extra[name])
            elif name in self.in_flight:
                return True
            elif name in self.registered:
                continue
            elif layer := next((layer for layer in layers if name in layer), None):
                pending += names_in(layer[name])
            elif are_facts_awaited and (name == FACTS or _is_fact(name)):
                return True
            elif name not in self.facts:
                written = self._host.variables.get(name, defaults().get(name))
                pending += names_in(written)
        return False

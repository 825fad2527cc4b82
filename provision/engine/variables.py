"""The variables of one host in the course of a run, strongest last (Ansible's order):

settings' defaults < inventory < facts < play < block and task < set_fact and registered < extra
(-e) < the loop's item and what Ansible itself defines (inventory_hostname, groups …).

Ansible has no such defaults: beside another inventory it wants group_vars/all.yml copied.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from provision.engine.tasks import Play, Task
from provision.inventory import yaml_source
from provision.inventory.hosts import Host, Inventory
from provision.paths import INVENTORY
from provision.templating.templar import OMIT, NotYetKnown, Pending, Templar, UnknownInCheckMode

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
    """Facts under their `ansible_*` names; while they are on their way, any such name is pending.

    `pending` is an error to raise: NotYetKnown until the facts are here.
    """

    def __init__(self, known: dict[str, Any] | None = None) -> None:
        self.known = {} if known is None else known
        self.pending = False

    def update(self, facts: Mapping[str, Any]) -> None:
        """Take in what a `setup` (or another module that finds facts) gave.

        Facts override the inventory and come from a rig: only names of facts are accepted, and
        none that configures a connection or a run. An interface may be called
        `become_password`.
        """
        self.known.update({name: facts[name] for name in facts if _is_fact(name)})
        self.pending = False

    def __contains__(self, name: object) -> bool:
        if name == "ansible_facts":
            return True
        return name in self.known or (self.pending and str(name).startswith("ansible_"))

    def __getitem__(self, name: str) -> Any:
        if self.pending and name.startswith("ansible_"):
            # Whether there is such a fact is not known either.
            return Pending(NotYetKnown(f"the fact {name}"), certain=name == "ansible_facts")
        if name == "ansible_facts":
            # Ansible drops the prefix here, but for ansible_local.
            return {
                key if key == "ansible_local" else key.removeprefix("ansible_"): value
                for key, value in self.known.items()
            }
        return self.known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.known)

    def __len__(self) -> int:
        return len(self.known) + 1


class UnknownResult(dict[str, Any]):
    """A registered result of which check mode knows no more than what it holds."""

    def __missing__(self, key: str) -> Any:
        raise UnknownInCheckMode(key)


@functools.cache
def defaults() -> Mapping[str, Any]:
    """The playbooks' settings where an inventory elsewhere does not set them."""
    found: Mapping[str, Any] = yaml_source.load(DEFAULTS)
    return found


class HostVariables:
    """All variables of one host."""

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

    def templar(self, play: Play | None = None, task: Task | None = None, **item: Any) -> Templar:
        """A Templar for a task (and one turn of its loop)."""
        return self._templar(self.facts, self.registered, play, task, item)

    def templar_as_of(
        self, then: Mapping[str, Any], play: Play, task: Task, **item: Any
    ) -> Templar:
        """A Templar for a task that is done, with what was `registered` when it was queued.

        What was on its way then is here by now; what later tasks in the queue will give is not.
        """
        settled = {
            name: self.registered[name] if isinstance(value, Pending) else value
            for name, value in then.items()
        }
        return self._templar(Facts(self.facts.known), settled, play, task, item)

    def _templar(
        self,
        facts: Facts,
        registered: Mapping[str, Any],
        play: Play | None,
        task: Task | None,
        item: Mapping[str, Any],
    ) -> Templar:
        magic = dict(self._magic)
        if play:
            magic["playbook_dir"] = str(Path(play.folder).resolve())
        return Templar(
            [
                defaults(),
                self._host.variables,
                facts,
                play.variables if play else {},
                task.scope.variables if task else {},
                registered,
                self._extra,
                item,
                magic,
            ],
            self._on_secret,
        )

"""The inventory: hosts, groups and variables, read from Ansible's YAML form.

An inventory is a file or a folder of files (`inventory/`), with `group_vars/` and `host_vars/`
beside them. Variables come together as Ansible's do: the inventory's own group variables, then
group_vars/all, then group_vars of parents before children, then the host's, then host_vars.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from provision.errors import PatternError, SourceError
from provision.inventory import yaml_source
from provision.inventory.yaml_source import YamlMapping
from provision.paths import INVENTORY
from provision.remote.options import suggestion

GROUP_KEYS = frozenset(("hosts", "children", "vars"))


@dataclass
class Group:
    """A group: its own variables, and the names of its hosts and child groups."""

    name: str
    variables: dict[str, Any] = field(default_factory=dict)
    hosts: dict[str, None] = field(default_factory=dict)
    children: dict[str, None] = field(default_factory=dict)


@dataclass(frozen=True)
class Host:
    """A host with all its variables, connection variables (`ansible_host` …) included."""

    name: str
    variables: dict[str, Any]
    groups: tuple[str, ...]


class Inventory:
    """All groups and hosts of an inventory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.groups: dict[str, Group] = {"all": Group("all"), "ungrouped": Group("ungrouped")}
        self._host_variables: dict[str, dict[str, Any]] = {}

    @property
    def hosts(self) -> list[str]:
        """The names of all hosts, in the order in which they were read."""
        return list(self._host_variables)

    def members(self, group: str) -> list[str]:
        """Return the hosts of a group and of all below it."""
        if group == "all":
            return self.hosts
        if group == "ungrouped":
            named = {
                host
                for group in self.groups.values()
                if group.name != "all"
                for host in group.hosts
            }
            return [host for host in self.hosts if host not in named]
        result: dict[str, None] = {}
        for name in [group, *self._descendants(group)]:
            result.update(self.groups[name].hosts)
        return list(result)

    def select(self, patterns: Iterable[str]) -> list[Host]:
        """Return the hosts that `-H a,b` names: hosts, groups, wildcards, `!not`, `&also`.

        A name that is an address (or `user@address:port`) needs no entry. Raises PatternError.
        """
        chosen: dict[str, Host] = {}
        parts = [part for text in patterns for part in _split_pattern(text)]
        # Ansible's order: what is named, then the intersections, then the exclusions.
        for part in sorted(parts, key=lambda part: {"&": 1, "!": 2}.get(part[0], 0)):
            if part[0] == "&":
                kept = {host.name for host in self._match(part[1:])}
                chosen = {name: host for name, host in chosen.items() if name in kept}
            elif part[0] == "!":
                for host in self._match(part[1:]):
                    chosen.pop(host.name, None)
            else:
                chosen.update({host.name: host for host in self._match(part)})
        if not chosen:
            raise PatternError(f"no host matches '{','.join(patterns)}'", advice=self._list_hosts())
        return list(chosen.values())

    def host(self, name: str) -> Host:
        """Return a host of the inventory, by its name."""
        groups = self._groups_of(name)
        variables: dict[str, Any] = {}
        for group in groups:
            variables.update(self.groups[group].variables)
        for group in groups:
            variables.update(self._variables_file("group_vars", group))
        variables.update(self._host_variables.get(name, {}))
        variables.update(self._variables_file("host_vars", name))
        return Host(name, variables, tuple(group for group in groups if group != "all"))

    def written(self, name: str) -> YamlMapping:
        """Return a host's variables from its inventory file: none of groups or other files."""
        return YamlMapping(self._host_variables.get(name, {}))

    def _match(self, pattern: str) -> list[Host]:
        names = [*self.hosts, *self.groups]
        matched: dict[str, None] = {}
        for name in names:
            if name == pattern or fnmatch.fnmatchcase(name, pattern):
                members = [name] if name in self._host_variables else self.members(name)
                matched.update(dict.fromkeys(members))
        if matched:
            return [self.host(name) for name in matched]
        if pattern in self.groups:
            raise PatternError(f"the group '{pattern}' has no hosts", advice=self._list_hosts())
        address = _address(pattern)
        if address is not None:
            implicit = self.host(pattern)
            return [Host(pattern, {**implicit.variables, **address}, ("ungrouped",))]
        names.remove("ungrouped")  # surely a mistake
        raise PatternError(
            f"unknown host '{pattern}'{suggestion(pattern, names)}", advice=self._list_hosts()
        )

    def _list_hosts(self) -> str:
        if not self.hosts:
            return f"{self.folder} holds no host yet: add yours to {self.folder}/rigs.yml."
        return f"The inventory knows: {', '.join(self.hosts)}."

    def _descendants(self, group: str) -> list[str]:
        descendants: list[str] = []
        ahead = list(self.groups[group].children)
        while ahead:
            child = ahead.pop(0)
            if child not in descendants:
                descendants.append(child)
                ahead += self.groups[child].children
        return descendants

    def _groups_of(self, host: str) -> list[str]:
        """`all` first, then parents before children, those of one depth by name."""
        mine = [
            group
            for group in self.groups
            if group not in ("all", "ungrouped") and host in self.members(group)
        ]
        depth = {
            group: sum(1 for other in mine if group in self._descendants(other)) for group in mine
        }
        return ["all", *sorted(mine, key=lambda group: (depth[group], group))]

    def _variables_file(self, folder: str, name: str) -> dict[str, Any]:
        base = self.folder / folder
        variables: dict[str, Any] = {}
        for path in (base / name, base / f"{name}.yml", base / f"{name}.yaml"):
            files = sorted(path.glob("*.y*ml")) if path.is_dir() else [path]
            for file in files:
                if file.is_file():
                    variables.update(_variables(yaml_source.load_yaml(file), file))
        return variables

    def read(self, path: Path) -> None:
        """Add the groups and hosts of one inventory file. Raises SourceError."""
        content = yaml_source.load_yaml(path)
        if content is None:
            return
        if not isinstance(content, YamlMapping):
            raise SourceError(f"{path} is not an inventory: expected a mapping of groups")
        for name, body in content.items():
            self._read_group(str(name), body, content)

    def _read_group(self, name: str, body: Any, parent: YamlMapping) -> None:
        group = self.groups.setdefault(name, Group(name))
        if body is None:
            return
        if not isinstance(body, YamlMapping):
            raise SourceError(f"group '{name}' must be a mapping", parent.at(name))
        for key in body:
            if key not in GROUP_KEYS:
                hint = suggestion(key, GROUP_KEYS) or "; a group has hosts, children and vars"
                raise SourceError(f"group '{name}' has no '{key}'{hint}", body.at(key))
        for key in GROUP_KEYS:
            if body.get(key) is not None and not isinstance(body[key], YamlMapping):
                raise SourceError(f"'{key}' of group '{name}' must be a mapping", body.at(key))
        group.variables.update(body.get("vars") or {})
        hosts: YamlMapping = body.get("hosts") or YamlMapping()
        for pattern, variables in hosts.items():
            if variables is not None and not isinstance(variables, YamlMapping):
                raise SourceError(
                    f"host '{pattern}' must hold a mapping of variables", hosts.at(pattern)
                )
            for host in _expand_range(str(pattern)):
                group.hosts[host] = None
                self._host_variables.setdefault(host, {}).update(variables or {})
        children: YamlMapping = body.get("children") or YamlMapping()
        for child, child_body in children.items():
            group.children[str(child)] = None
            self._read_group(str(child), child_body, children)
            if name in self._descendants(str(child)):
                raise SourceError(f"group '{name}' is its own descendant", children.at(child))


def load_inventory(path: str | None) -> Inventory:
    """Return the inventory that --inventory or DEEPRIG_INVENTORY names, or else `inventory/`."""
    return read_inventory(path or os.environ.get("DEEPRIG_INVENTORY") or INVENTORY)


def read_inventory(path: str | Path) -> Inventory:
    """Return the inventory at a file or a folder. Raises SourceError."""
    path = Path(path)
    if not path.exists():
        raise SourceError(
            f"the inventory {path} does not exist",
            advice="Run in deeprig's folder, or name one with --inventory or DEEPRIG_INVENTORY.",
        )
    inventory = Inventory(path if path.is_dir() else path.parent)
    for file in sorted(path.glob("*.y*ml")) if path.is_dir() else [path]:
        inventory.read(file)
    return inventory


def _variables(content: Any, file: Path) -> dict[str, Any]:
    if content is None:
        return {}
    if not isinstance(content, YamlMapping):
        raise SourceError(f"{file} must be a mapping of variables")
    return content


def _split_pattern(text: str) -> list[str]:
    """`a,b`; `a:b` and `a:!b` are Ansible's, too, but an address may have colons."""
    parts: list[str] = []
    for part in text.split(","):
        ipv6 = re.search(r"[0-9a-fA-F]*:[0-9a-fA-F]*:", part) and not re.search(r"[!&]", part)
        # What follows a colon is a port, or another pattern.
        parts += [part] if ipv6 else re.split(r":(?=[!&]|\D)(?![^\[]*\])", part)
    return [part.strip() for part in parts if part.strip()]


def _expand_range(pattern: str) -> list[str]:
    """`rig[1:3]` is rig1, rig2, rig3; `rig[01:03]` keeps the zeros."""
    match = re.fullmatch(r"(.*)\[(\d+):(\d+)\](.*)", pattern)
    if not match:
        return [pattern]
    head, first, last, tail = match.groups()
    numbers = range(int(first), int(last) + 1)
    return [f"{head}{number:0{len(first)}d}{tail}" for number in numbers]


def _address(text: str) -> dict[str, Any] | None:
    """Connection variables of `[user@]address[:port]`; None when it looks like a mere name."""
    match = re.fullmatch(r"(?:([^@\s]+)@)?([^\s@]+?)(?::(\d+))?", text)
    if text.count(":") > 1:  # IPv6
        match = re.fullmatch(r"(?:([^@\s]+)@)?\[?([0-9a-fA-F:]+)\]?()", text)
    if not match:
        return None
    user, address, port = match.groups()
    if not (user or port or "." in address or ":" in address or address == "localhost"):
        return None
    variables: dict[str, Any] = {"ansible_host": address}
    if user:
        variables["ansible_user"] = user
    if port:
        variables["ansible_port"] = int(port)
    return variables

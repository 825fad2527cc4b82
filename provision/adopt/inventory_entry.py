"""A rig's entry in an inventory file that a person wrote: every other byte stays as it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from provision.errors import SourceError
from provision.inventory import yaml_source

GROUP = "rigs"
EMPTY = f"---\n{GROUP}:\n  hosts:\n"


def add_host(text: str, name: str, variables: Mapping[str, Any], comment: str, path: Path) -> str:
    """Return the file with one host more, last in group `rigs`. Raises SourceError.

    A file without the group, or with `hosts: {}`, gets what it lacks.
    """
    base = _prepare(text if text.endswith("\n") or not text else f"{text}\n", path)
    node = _hosts(base)
    lines = base.splitlines(keepends=True)
    if node is None:
        raise SourceError(f"{path} has no mapping of hosts in group '{GROUP}'")
    if isinstance(node, yaml.MappingNode) and node.value:
        indent = node.value[0][0].start_mark.column
        after = _last_line(lines, node.end_mark.line, indent)
    else:
        indent = _hosts_column(base) + 2
        after = node.start_mark.line + 1
    block = _block(name, variables, comment, indent).replace("\n", _line_end(base))
    changed = "".join([*lines[:after], block, *lines[after:]])
    _check(base, changed, name, variables, path)
    return changed


def change_host(text: str, name: str, changes: Mapping[str, str | None], path: Path) -> str:
    """Return the file with other values for some variables of a host; None takes one out.

    Raises SourceError where the host is not written a variable a line.
    """
    body = _body(text, name, path)
    lines = text.splitlines(keepends=True)
    present = {key.value: (key, value) for key, value in body.value}
    first = min(key.start_mark.line for key, _ in present.values())
    indent = next(iter(present.values()))[0].start_mark.column
    added: list[str] = []
    for variable, value in changes.items():
        if variable not in present:
            if value is not None:
                added.append(f"{' ' * indent}{variable}: {_scalar(value)}{_line_end(text)}")
            continue
        key, old = present[variable]
        at = old.start_mark.line
        if not isinstance(old, yaml.ScalarNode) or old.end_mark.line != key.start_mark.line:
            raise _unsafe_edit_error(path)
        tail = lines[at][old.end_mark.column :]  # a comment stays
        lines[at] = (
            "" if value is None else lines[at][: old.start_mark.column] + _scalar(value) + tail
        )
    result = "".join([*lines[:first], *added, *lines[first:]])
    entry = yaml_source.parse_yaml(text, str(path))[GROUP]["hosts"][name]
    wanted = {
        **{key: value for key, value in entry.items() if key not in changes},
        **{key: value for key, value in changes.items() if value is not None},
    }
    _check(text, result, name, wanted, path)
    return result


def _body(text: str, name: str, path: Path) -> yaml.MappingNode:
    """Return the node of a host's variables, written a variable a line."""
    node = _hosts(text)
    for host, body in node.value if isinstance(node, yaml.MappingNode) else ():
        if host.value == name and isinstance(body, yaml.MappingNode) and body.value:
            columns = {key.start_mark.column for key, _ in body.value}
            rows = {key.start_mark.line for key, _ in body.value}
            if not body.flow_style and len(columns) == 1 and len(rows) == len(body.value):
                return body
    raise _unsafe_edit_error(path)


def _unsafe_edit_error(path: Path) -> SourceError:
    return SourceError(
        f"{path} is written in a way that it can't be changed safely",
        advice="Change it by hand, as the comments of inventory/rigs.yml show.",
    )


def _prepare(text: str, path: Path) -> str:
    """Return the file with a block mapping for the group's hosts, be it empty."""
    document = yaml_source.parse_yaml(text, str(path))
    if document is None:
        return f"{text.rstrip()}\n{EMPTY.removeprefix('---')}".lstrip() if text.strip() else EMPTY
    if not isinstance(document, Mapping):
        raise SourceError(f"{path} is not an inventory: expected a mapping of groups")
    group = document.get(GROUP)
    if GROUP not in document:
        return f"{text.rstrip()}\n{GROUP}:\n  hosts:\n"
    if not group:
        raise SourceError(
            f"group '{GROUP}' is empty in {path}", advice=f"Write `{GROUP}:` and `  hosts:` below."
        )
    if "hosts" not in group:
        raise SourceError(f"group '{GROUP}' of {path} has no hosts", advice="Write `  hosts:`.")
    if not group["hosts"]:
        node = _hosts(text)
        assert node is not None
        # `hosts: {}` becomes `hosts:`; what follows on the line, a comment, stays.
        before, after = text[: node.start_mark.index], text[node.end_mark.index :]
        return (
            before.rstrip(" ") if node.end_mark.index > node.start_mark.index else before
        ) + after
    return text


def _hosts(text: str) -> yaml.Node | None:
    """Return the node of rigs.hosts."""
    node: yaml.Node | None = yaml.compose(text, Loader=yaml.SafeLoader)
    for key in (GROUP, "hosts"):
        if not isinstance(node, yaml.MappingNode):
            return None
        node = next((value for name, value in node.value if name.value == key), None)
    return node


def _hosts_column(text: str) -> int:
    root: Any = yaml.compose(text, Loader=yaml.SafeLoader)
    group = next(value for name, value in root.value if name.value == GROUP)
    return int(next(name for name, _ in group.value if name.value == "hosts").start_mark.column)


def _last_line(lines: list[str], end: int, indent: int) -> int:
    """Return the line after a mapping's last entry and the comments indented like it."""
    while end > 0 and (end > len(lines) or not lines[end - 1].split("#")[0].strip()):
        end -= 1
    for number, line in enumerate(lines[end:], end):
        words = line.lstrip(" ")
        if words.strip() and (len(line) - len(words) < indent or not words.startswith("#")):
            break
        if words.strip():
            end = number + 1
    return end


def _line_end(text: str) -> str:
    """Return how a file's lines end: as the first one does."""
    return "\r\n" if text.partition("\n")[0].endswith("\r") else "\n"


def _block(name: str, variables: Mapping[str, Any], comment: str, indent: int) -> str:
    body = yaml_source.dump_yaml({name: dict(variables)})
    lines = [*(f"# {line}" for line in comment.splitlines()), *body.splitlines()]
    return "".join(f"{' ' * indent}{line}\n" for line in lines)


def _scalar(value: str) -> str:
    return yaml_source.dump_yaml(value).removesuffix("\n...\n").strip()


def _check(before: str, after: str, name: str, variables: Mapping[str, Any], path: Path) -> None:
    """Check that only this host has changed, to these variables. Raises SourceError."""
    try:
        old, new = (
            yaml_source.parse_yaml(before, str(path)),
            yaml_source.parse_yaml(after, str(path)),
        )
        hosts = old[GROUP].setdefault("hosts", None) or {}
        old[GROUP]["hosts"] = {**hosts, name: dict(variables)}
        same = new == old
    except (SourceError, TypeError, KeyError):
        same = False
    if not same:
        raise _unsafe_edit_error(path)

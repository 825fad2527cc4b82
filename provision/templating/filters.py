"""The filters and tests that Ansible adds to Jinja2, under Ansible's names.

Adding one is adding a function to a table; `FILTERS` and `TESTS` at the end name them.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import os.path
import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import yaml
from jinja2 import Environment, Undefined, pass_environment

from provision.boundary.decode import parse_json
from provision.remote.options import TRUE

MOST_NODES = 1_000_000  # of a YAML document


def to_bool(value: Any) -> bool:
    """Ansible's `bool`: true, yes, on, 1 are true."""
    if isinstance(value, str):
        return value.strip().lower() in TRUE
    return bool(value) and value == 1


def _refuse_foreign(value: Any) -> None:
    """Raise TypeError for a value without a JSON form."""
    raise TypeError(f"JSON has no form for {value!r}")


def to_json(value: Any, indent: int | None = None, sort_keys: bool = False) -> str:
    """JSON in one line."""
    return json.dumps(value, indent=indent, sort_keys=sort_keys, default=_refuse_foreign)


def to_nice_json(value: Any, indent: int = 4) -> str:
    """JSON, indented and sorted."""
    return json.dumps(value, indent=indent, sort_keys=True, default=_refuse_foreign)


def to_nice_yaml(value: Any, indent: int = 4) -> str:
    """YAML in block style."""
    plain = json.loads(
        json.dumps(value, default=_refuse_foreign)
    )  # Text and Mapping are plain again
    return yaml.safe_dump(plain, indent=indent, default_flow_style=False, allow_unicode=True)


def from_yaml(value: str) -> Any:
    """Return the document that a YAML text holds. Raises ValueError where aliases multiply it.

    A few lines of aliases to aliases are gigabytes once they are written out.
    """
    if (
        "*" in value
        and _count_expanded(yaml.compose(value, Loader=yaml.SafeLoader), {}) > MOST_NODES
    ):
        raise ValueError(f"its aliases expand to more than {MOST_NODES} values")
    return yaml.safe_load(value)


def _count_expanded(node: yaml.Node | None, counts: dict[int, int]) -> int:
    """Count the nodes below a node, those behind aliases each time."""
    if node is None or isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) not in counts:
        counts[id(node)] = MOST_NODES + 1  # within itself: an alias to its own anchor has no end
        below = [
            child for item in node.value for child in (item if isinstance(item, tuple) else [item])
        ]
        counts[id(node)] = 1 + sum(_count_expanded(child, counts) for child in below)
    return counts[id(node)]


def regex_replace(value: str, pattern: str, replacement: str = "", multiline: bool = False) -> str:
    """`value` with each match replaced."""
    return re.sub(pattern, replacement, str(value), flags=re.MULTILINE if multiline else 0)


def regex_search(value: str, pattern: str, *groups: str, multiline: bool = False) -> Any:
    """Return the match, or the named groups (`'\\\\1'`) as a list; None without a match."""
    match = re.search(pattern, str(value), re.MULTILINE if multiline else 0)
    if not match:
        return None
    if not groups:
        return match.group()
    names = [group.replace("\\g<", "").strip("\\>") for group in groups]
    return [match.group(int(name) if name.isdigit() else name) for name in names]


def regex_findall(value: str, pattern: str, multiline: bool = False) -> list[Any]:
    """Return all matches."""
    return re.findall(pattern, str(value), re.MULTILINE if multiline else 0)


def combine(*mappings: Mapping[str, Any], recursive: bool = False) -> dict[str, Any]:
    """Return the mappings merged; the later wins."""
    merged: dict[str, Any] = {}
    for mapping in mappings:
        for key, value in mapping.items():
            both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
            deeper = recursive and both
            merged[key] = combine(merged[key], value, recursive=True) if deeper else value
    return merged


def dict2items(
    value: Mapping[str, Any], key_name: str = "key", value_name: str = "value"
) -> list[dict[str, Any]]:
    """Return a list of {key, value}."""
    return [{key_name: key, value_name: item} for key, item in value.items()]


def items2dict(
    value: Iterable[Mapping[str, Any]], key_name: str = "key", value_name: str = "value"
) -> dict[str, Any]:
    """Return the mapping of which `dict2items` makes the list."""
    return {item[key_name]: item[value_name] for item in value}


def flatten(value: Iterable[Any], levels: int | None = None) -> list[Any]:
    """Lists within lists, made one; a None in them is nothing."""
    flat: list[Any] = []
    for item in value:
        if item is None:
            continue
        if isinstance(item, (list, tuple)) and levels != 0:
            flat.extend(flatten(item, None if levels is None else levels - 1))
        else:
            flat.append(item)
    return flat


def unique(value: Iterable[Any]) -> list[Any]:
    """Return each element once, in order."""
    kept: list[Any] = []
    for item in value:
        if item not in kept:
            kept.append(item)
    return kept


def difference(value: Iterable[Any], other: Iterable[Any]) -> list[Any]:
    """Return the items that only the first has."""
    others = list(other)
    return [item for item in unique(value) if item not in others]


def intersect(value: Iterable[Any], other: Iterable[Any]) -> list[Any]:
    """Return the items that both have."""
    others = list(other)
    return [item for item in unique(value) if item in others]


def union(value: Iterable[Any], other: Iterable[Any]) -> list[Any]:
    """Return the items that either has."""
    return unique([*value, *other])


@pass_environment
def extract(environment: Environment, item: Any, container: Any, *more_keys: Any) -> Any:
    """`container[item]`, and deeper with more keys: for `map('extract', container)`."""
    value = environment.getitem(container, item)
    for key in more_keys:
        value = environment.getitem(value, key)
    return value


def product(*lists: Iterable[Any]) -> list[tuple[Any, ...]]:
    """Return each element of the first with each of the others."""
    return list(itertools.product(*lists))


def ternary(value: Any, true: Any, false: Any, none: Any = None) -> Any:
    """`true` or `false` by the truth of the value; `none`, when given, for a None."""
    if value is None and none is not None:
        return none
    return true if value else false


def mandatory(value: Any, message: str = "Mandatory variable is not defined.") -> Any:
    """Return the value; an error when it is undefined."""
    if isinstance(value, Undefined):
        raise TypeError(message)
    return value


def version_key(text: str) -> list[tuple[int, Any]]:
    """Return a key that orders versions as Ansible's loose comparison does."""
    parts = re.findall(r"\d+|[a-zA-Z]+", text)
    return [(1, int(part)) if part.isdigit() else (0, part) for part in parts]


def version(value: Any, other: Any, operator: str = "==") -> bool:
    """Return whether `value operator other` holds of two versions."""
    left, right = version_key(str(value)), version_key(str(other))
    outcomes: dict[str, bool] = {
        "==": left == right,
        "=": left == right,
        "eq": left == right,
        "!=": left != right,
        "<>": left != right,
        "ne": left != right,
        "<": left < right,
        "lt": left < right,
        "<=": left <= right,
        "le": left <= right,
        ">": left > right,
        "gt": left > right,
        ">=": left >= right,
        "ge": left >= right,
    }
    if operator not in outcomes:
        raise ValueError(f"version: no operator '{operator}'")
    return outcomes[operator]


def _test_result(key: str, value: Any) -> bool:
    if getattr(value, "get", None) is None:  # a result that is on its way raises here
        raise TypeError(f"the test '{key}' needs the registered result of a task")
    try:
        return bool(value[key])  # raises where check mode does not know
    except KeyError:
        return False


FILTERS: dict[str, Callable[..., Any]] = {
    "b64decode": lambda value: base64.b64decode(value).decode("utf-8", "replace"),
    "b64encode": lambda value: base64.b64encode(str(value).encode()).decode(),
    "basename": lambda value: os.path.basename(value),  # noqa: PTH119
    "bool": to_bool,
    "combine": combine,
    "dict2items": dict2items,
    "difference": difference,
    "dirname": lambda value: os.path.dirname(value),  # noqa: PTH120
    "extract": extract,
    "flatten": flatten,
    "from_json": parse_json,
    "from_yaml": from_yaml,
    "hash": lambda value, name="sha1": hashlib.new(name, str(value).encode()).hexdigest(),
    "intersect": intersect,
    "items2dict": items2dict,
    "mandatory": mandatory,
    "product": product,
    "quote": lambda value: shlex.quote(str(value)),
    "regex_escape": lambda value: re.escape(str(value)),
    "regex_findall": regex_findall,
    "regex_replace": regex_replace,
    "regex_search": regex_search,
    "ternary": ternary,
    "to_json": to_json,
    "to_nice_json": to_nice_json,
    "to_nice_yaml": to_nice_yaml,
    "union": union,
    "unique": unique,
}

TESTS: dict[str, Callable[..., bool]] = {
    "changed": lambda value: _test_result("changed", value),
    "contains": lambda value, item: item in value,
    "failed": lambda value: _test_result("failed", value),
    "falsy": lambda value: not value,
    "match": lambda value, pattern: re.match(pattern, str(value)) is not None,
    "regex": lambda value, pattern: re.search(pattern, str(value)) is not None,
    "search": lambda value, pattern: re.search(pattern, str(value)) is not None,
    "skipped": lambda value: _test_result("skipped", value),
    "subset": lambda value, other: all(item in other for item in value),
    "succeeded": lambda value: not _test_result("failed", value),
    "success": lambda value: not _test_result("failed", value),
    "superset": lambda value, other: all(item in value for item in other),
    "truthy": lambda value: bool(value),
    "version": version,
}

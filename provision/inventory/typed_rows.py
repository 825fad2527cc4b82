"""Rows of a YAML table as dataclasses: unknown, missing and wrongly typed fields are named."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from provision.errors import DeeprigError, Position, SourceError
from provision.inventory import yaml_source

Row = TypeVar("Row")


def read_row(
    kind: type[Row], fields: Mapping[str, Any], /, at: Position | None = None, **given: Any
) -> Row:
    """Return a `kind` made from a row's fields; whole numbers become floats where needed.

    at: the row's place, if it may not be a mapping. Raises SourceError with the place in the
    file.
    """
    if not isinstance(fields, Mapping):
        raise SourceError(f"a row should be a mapping, not {fields!r}", _at(fields, "") or at)
    hints = _type_hints(kind)  # type: ignore[arg-type]  # a type is hashable
    declared = dataclasses.fields(kind)  # type: ignore[arg-type]
    names = [field.name for field in declared if field.name not in given]
    for name in fields:
        if name not in names:
            raise SourceError(
                f"unknown field '{name}'", _at(fields, name), suggest_names(str(name), names)
            )
    values: dict[str, Any] = dict(given)
    for field in declared:
        if field.name in given or (field.name not in fields and _has_default(field)):
            continue
        if field.name not in fields:
            raise SourceError(f"'{field.name}' is missing", _at(fields, field.name))
        at = _at(fields, field.name)
        values[field.name] = _convert(hints[field.name], fields[field.name], field.name, at)
    return kind(**values)


def read_rows(kind: type[Row], content: Any, name: str) -> list[Row]:
    """Return all rows of the list `name` in a table. Raises SourceError with the place."""
    if not isinstance(content, Mapping) or not isinstance(content.get(name), list):
        raise SourceError(f"there should be a list '{name}'", _at(content, name))
    return [
        read_row(kind, fields, at)
        for fields, at in zip(content[name], _items_at(content[name]), strict=True)
    ]


@cache
def _type_hints(kind: type[Any]) -> dict[str, Any]:
    """Return the types of a dataclass's fields; evaluating them takes longer than a row."""
    return get_type_hints(kind)


def _convert(hint: Any, value: Any, name: str, at: Position | None) -> Any:
    """Return a value with its field's type: nested rows, lists as tuples, floats."""
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return read_row(hint, value, at)
    if get_origin(hint) is tuple:
        if not isinstance(value, list):
            raise SourceError(f"'{name}' should be a list, not {value!r}", at)
        inner = get_args(hint)[0]
        return tuple(
            _convert(inner, item, name, item_position or at)
            for item, item_position in zip(value, _items_at(value), strict=True)
        )
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            choices = ", ".join(get_args(hint))
            raise SourceError(f"'{name}' should be one of {choices}, not {value!r}", at)
        return value
    if hint is float and type(value) is int:
        return float(value)
    if hint in (int, float, bool, str) and not (
        isinstance(value, hint) and (hint is bool or not isinstance(value, bool))
    ):
        raise SourceError(f"'{name}' should be {hint.__name__}, not {value!r}", at)
    return value


def check_expression(fields: Any, name: str) -> None:
    """Raise SourceError, with the place, where a row's field is not a regular expression."""
    try:
        re.compile(fields.get(name, ""))
    except re.error as error:
        message = f"'{name}' is not a regular expression: {error}"
        raise SourceError(message, _at(fields, name)) from None


def suggest_names(name: str, candidates: Iterable[str]) -> str:
    """Advice about a name that is not known: what is like it, or else all there is.

    >>> suggest_names("lama-2-7b", ["gpt2", "llama-2-7b"])
    'Did you mean llama-2-7b?'
    >>> suggest_names("x", ["gpt2", "llama-2-7b"])
    'There are: gpt2, llama-2-7b.'
    """
    names = sorted(candidates)
    lower = {candidate.lower(): candidate for candidate in names}
    close = difflib.get_close_matches(name.lower(), lower, n=3, cutoff=0.6)
    if close:
        return f"Did you mean {' or '.join(lower[candidate] for candidate in close)}?"
    return f"There are: {', '.join(names)}."


def unknown_name_error(what: str, name: str, candidates: Iterable[str]) -> DeeprigError:
    """Return the error of a name that no table has."""
    return DeeprigError(f"unknown {what} '{name}'", advice=suggest_names(name, candidates))


def _has_default(field: dataclasses.Field[Any]) -> bool:
    return (
        field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
    )


def _items_at(items: list[Any]) -> Sequence[Position | None]:
    return items.items_at if isinstance(items, yaml_source.YamlSequence) else [None] * len(items)


def _at(fields: Any, name: str) -> Position | None:
    if isinstance(fields, yaml_source.YamlMapping):
        return fields.at(name)
    position: Position | None = getattr(fields, "position", None)
    return position

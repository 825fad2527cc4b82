"""Which variables a value's templates use, without rendering anything."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from typing import Any

import jinja2

from provision.inventory.yaml_source import YamlMapping, YamlSequence, YamlText, is_template
from provision.templating.sandbox import names_in_template

#: A template that is one variable: the most frequent of all, and it needs no Jinja2.
SINGLE_NAME = re.compile(r"\{\{\s*([A-Za-z_]\w*)\s*\}\}")


def condition_text(value: Any) -> str:
    """Return a condition, which needs no braces, as a template."""
    return str(value) if is_template(value) else f"{{{{ {value} }}}}"


def names_in_conditions(conditions: Iterable[Any]) -> frozenset[str]:
    """Return the names that conditions (`when`, `failed_when`, `that` …) use."""
    names: frozenset[str] = frozenset()
    for condition in conditions:
        if not isinstance(condition, bool):
            names |= names_in_text(condition_text(condition))
    return names


def names_in(value: Any) -> frozenset[str]:
    """Return the names that the templates in a value use, at any depth.

    Only what a person wrote holds templates: plain dicts and lists are results of a rig.
    """
    if isinstance(value, YamlText):
        return names_in_text(value) if is_template(value) else frozenset()
    if isinstance(value, YamlMapping):
        return frozenset().union(*map(names_in, value.values()))
    if isinstance(value, (YamlSequence, tuple)):
        return frozenset().union(*map(names_in, value))
    return frozenset()


@functools.cache
def names_in_text(text: str, whole_file: bool = False) -> frozenset[str]:
    """Return the names that a template uses; none where it is wrong, which rendering reports."""
    if name := SINGLE_NAME.fullmatch(text):
        return frozenset((name.group(1),))
    try:
        return names_in_template(str(text), whole_file)
    except jinja2.TemplateSyntaxError:
        return frozenset()

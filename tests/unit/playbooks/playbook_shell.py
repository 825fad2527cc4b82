"""The shell of a playbook's task, rendered as Ansible does, for tests that run it on files."""

from __future__ import annotations

import itertools
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2
import yaml

PLAYBOOKS = Path(__file__).parents[3] / "playbooks"


def tasks(path: str) -> dict[str, Any]:
    """Return every task of a playbook or of a file of tasks, by its name."""
    return {
        task["name"]: task for task in _list_nested(yaml.safe_load((PLAYBOOKS / path).read_text()))
    }


def _list_nested(entries: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for entry in entries:
        for key in ("tasks", "block"):
            yield from _list_nested(entry.get(key, []))
        yield entry


def render_template(text: str, **variables: Any) -> str:
    """Render a template with those of Ansible's filters that the playbooks use."""
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
    environment.filters |= {
        "quote": shlex.quote,
        "dirname": os.path.dirname,
        "regex_escape": re.escape,
        "regex_replace": lambda value, pattern, new: re.sub(pattern, new, value),
        "product": lambda left, right: list(itertools.product(left, right)),
    }
    environment.tests["match"] = lambda value, pattern: re.match(pattern, value) is not None
    return environment.from_string(text).render(variables)


def evaluate_expression(text: str, **variables: Any) -> Any:
    """Return the value of a `{{ … }}` that is not text."""
    inner = text.strip().removeprefix("{{").removesuffix("}}")
    values: list[Any] = []
    render_template("{{ keep(" + inner + ") }}", keep=values.append, **variables)
    return values[0]

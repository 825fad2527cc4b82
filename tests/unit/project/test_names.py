"""Names explain themselves: class names are unique, and no variable is a bare pronoun."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import pytest
import yaml

from lab.plain_english import TABLE

ROOT = Path(__file__).parents[3]
PRODUCT = ("provision", "agent", "lab")
VAGUE = frozenset(yaml.safe_load(TABLE.read_text())["names"])


def list_files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def list_bindings(tree: ast.AST) -> list[tuple[str, int]]:
    """The variables, parameters and attributes that a file assigns, with their lines."""
    bindings = []
    # The fields of a TypedDict are keys of a document, which users see.
    keys = {
        key
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        and "TypedDict" in [ast.unparse(base) for base in node.bases]
        for field in node.body
        for key in ast.walk(field)
    }
    for node in ast.walk(tree):
        if node in keys:
            continue
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            bindings.append((node.id, node.lineno))
        elif isinstance(node, ast.arg):
            bindings.append((node.arg, node.lineno))
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            bindings.append((node.attr, node.lineno))
    return bindings


def test_class_names_are_unique() -> None:
    places = defaultdict(list)
    for path in list_files(*PRODUCT):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef):
                places[node.name].append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert {name: paths for name, paths in places.items() if len(paths) > 1} == {}


@pytest.mark.parametrize("folder", [*PRODUCT, "tests"])
def test_variables_are_named_after_what_they_hold(folder: str) -> None:
    vague = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in list_files(folder)
        for name, line in list_bindings(ast.parse(path.read_text()))
        if name.strip("_") in VAGUE
    ]
    assert vague == []

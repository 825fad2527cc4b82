"""A configuration file, and errors that name the line."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from agent import tables
from agent.errors import ConfigurationError
from agent.readings.pcie import raise_exhausted


@dataclass(frozen=True)
class YamlFile:
    """A YAML file: its text and its content."""

    file: Path
    text: str
    document: Any

    @classmethod
    def read(cls, file: Path) -> YamlFile:
        """Read a file. Raises ConfigurationError; OSError if no descriptor is left."""
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            if isinstance(error, OSError):
                raise_exhausted(error)
            reason = getattr(error, "strerror", None) or "not a text file"
            raise ConfigurationError(f"{file}: {reason}") from None
        try:
            document = tables.parse(text)
            duplicate = find_duplicate_key(yaml.compose(text, tables.LOADER))
            if duplicate is not None:
                line = duplicate.start_mark.line + 1
                raise ConfigurationError(f"{file}:{line}: '{duplicate.value}' is duplicated")
            return cls(file, text, {} if document is None else document)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            line = f":{mark.line + 1}" if mark else ""
            problem = getattr(error, "problem", None) or "invalid YAML"
            raise ConfigurationError(f"{file}{line}: {problem}") from None
        except ValueError as error:  # such as an impossible date
            raise ConfigurationError(f"{file}: invalid YAML: {error}") from None

    def error(self, key: str, problem: str) -> ConfigurationError:
        """Return an error at the line of a key, which may be the first in it or within braces.

        The problem may contain a key with line breaks; in the error they are spaces.
        """
        pattern = re.compile(rf"(?:^|[{{,])\s*['\"]?{re.escape(key)}['\"]?\s*:")
        lines = enumerate(self.text.splitlines(), 1)
        number = next((number for number, line in lines if pattern.search(line)), 1)
        return ConfigurationError(f"{self.file}:{number}: {' '.join(problem.split())}")

    def check_keys(self, document: Any, keys: Collection[str], under: str = "") -> None:
        """Refuse a document that is not a mapping, or that has other keys."""
        if not isinstance(document, Mapping):
            subject = f"'{under}'" if under else "the file's content"
            raise self.error(under, f"{subject} must be a mapping, not {document!r}")
        for key in document:
            if key not in keys:
                allowed = ", ".join(keys)
                raise self.error(str(key), f"unknown key '{key}'; expected one of {allowed}")


def find_duplicate_key(node: yaml.Node | None) -> yaml.ScalarNode | None:
    """Return the first key that a mapping has twice, at any depth; YAML silently keeps the last."""
    children: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    return key
                seen.add(key.value)
            children.append(value)
    elif isinstance(node, yaml.SequenceNode):
        children = node.value
    duplicates = map(find_duplicate_key, children)
    return next((key for key in duplicates if key is not None), None)

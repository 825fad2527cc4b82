"""A configuration file, and errors that say where in it something is wrong."""

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
class Source:
    """A YAML file: its text, and what it says."""

    file: Path
    content: str
    document: Any

    @classmethod
    def read(cls, file: Path) -> Source:
        """Read it. Raises ConfigurationError; OSError if no descriptor is left."""
        try:
            content = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            if isinstance(error, OSError):
                raise_exhausted(error)
            reason = getattr(error, "strerror", None) or "no text"
            raise ConfigurationError(f"{file}: {reason}") from None
        try:
            document = tables.parse(content)
            twice = repeated(yaml.compose(content, tables.LOADER))
            if twice is not None:
                line = twice.start_mark.line + 1
                raise ConfigurationError(f"{file}:{line}: '{twice.value}' stands there twice")
            return cls(file, content, {} if document is None else document)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            line = f":{mark.line + 1}" if mark else ""
            problem = getattr(error, "problem", None) or "no YAML"
            raise ConfigurationError(f"{file}{line}: {problem}") from None
        except ValueError as error:  # such as a date that is none
            raise ConfigurationError(f"{file}: no YAML: {error}") from None

    def error(self, key: str, problem: str) -> ConfigurationError:
        """An error at the line that the key stands in, be it first in it or within braces.

        The problem may hold a key with line breaks; an error is one line, in a journal, too.
        """
        named = re.compile(rf"(?:^|[{{,])\s*['\"]?{re.escape(key)}['\"]?\s*:")
        lines = enumerate(self.content.splitlines(), 1)
        at = next((number for number, line in lines if named.search(line)), 1)
        return ConfigurationError(f"{self.file}:{at}: {' '.join(problem.split())}")

    def check_keys(self, document: Any, keys: Collection[str], under: str = "") -> None:
        """Refuse what is no mapping, and keys that are not known."""
        if not isinstance(document, Mapping):
            of = f"'{under}' must be" if under else "the file must hold"
            raise self.error(under, f"{of} a mapping, not {document!r}")
        for key in document:
            if key not in keys:
                raise self.error(str(key), f"'{key}' is none of {', '.join(keys)}")


def repeated(node: yaml.Node | None) -> yaml.ScalarNode | None:
    """The first key that a mapping has twice, at any depth; YAML itself lets the later one win."""
    below: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    return key
                seen.add(key.value)
            below.append(value)
    elif isinstance(node, yaml.SequenceNode):
        below = node.value
    return next((found for one in below if (found := repeated(one)) is not None), None)

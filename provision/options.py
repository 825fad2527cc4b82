"""What the operator asked for: the flags of `fab provision` and `fab play`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from provision import source
from provision.errors import SourceError
from provision.source import COMMAND_LINE, Mapping, Text


@dataclass(frozen=True)
class RunOptions:
    """The flags of a run."""

    check: bool = False
    diff: bool = False
    tags: frozenset[str] = frozenset()
    skip_tags: frozenset[str] = frozenset()
    extra: dict[str, Any] = field(default_factory=dict)

    def selects(self, tags: frozenset[str]) -> bool:
        """Whether a task with these tags runs, by Ansible's rules for `always` and `never`."""
        if tags & self.skip_tags:
            return False
        if not self.tags or "all" in self.tags:
            return "never" not in tags or bool(tags & self.tags)
        return bool(tags & self.tags) or ("always" in tags and "always" not in self.skip_tags)


def words(text: str | None) -> frozenset[str]:
    """`a,b` as a set."""
    return frozenset(part.strip() for part in (text or "").split(",") if part.strip())


def extra_variables(given: Iterable[str]) -> dict[str, Any]:
    """`-e name=value`, `-e '{yaml or json}'`, `-e @file.yml`. Raises SourceError."""
    found: dict[str, Any] = {}
    for text in given:
        if text.startswith("@"):
            content = source.load(text[1:])
        elif text.lstrip().startswith("{"):
            content = source.parse(text, COMMAND_LINE)
        elif "=" in text:
            name, _, value = text.partition("=")
            found[name.strip()] = Text.given(value)
            continue
        else:
            raise SourceError(f"-e {text}: write name=value, a mapping in braces, or @file")
        if content is not None and not isinstance(content, Mapping):
            raise SourceError(f"-e {text}: it must be a mapping of variables")
        found.update(content or {})
    return found

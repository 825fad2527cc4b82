"""What the operator asked for: the flags of `fab provision` and `fab play`."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from provision.errors import SourceError
from provision.inventory import yaml_source
from provision.inventory.yaml_source import COMMAND_LINE, YamlMapping, YamlText


@dataclass(frozen=True)
class RunOptions:
    """The flags of a run."""

    check: bool = False
    diff: bool = False
    tags: frozenset[str] = frozenset()
    skip_tags: frozenset[str] = frozenset()
    extra: dict[str, Any] = field(default_factory=dict)

    def selects(self, tags: frozenset[str]) -> bool:
        """Return whether a task with these tags runs, by Ansible's rules for its special tags."""
        wanted = self.tags or {"all"}
        mine = tags or {"untagged"}
        usual = "never" not in mine
        tagged = bool(tags) and usual
        if not (
            "always" in mine
            or ("all" in wanted and usual)
            or mine & wanted
            or ("tagged" in wanted and tagged)
        ):
            return False
        if "all" in self.skip_tags:
            return "always" in mine and "always" not in self.skip_tags
        return not (mine & self.skip_tags or ("tagged" in self.skip_tags and tags))


def split_words(text: str | None) -> frozenset[str]:
    """`a,b` as a set."""
    return frozenset(part.strip() for part in (text or "").split(",") if part.strip())


def extra_variables(given: Iterable[str]) -> dict[str, Any]:
    """`-e name=value`, `-e '{yaml or json}'`, `-e @file.yml`. Raises SourceError."""
    variables: dict[str, Any] = {}
    for text in given:
        if text.startswith("@"):
            content = yaml_source.load_yaml(text[1:])
        elif text.lstrip().startswith("{"):
            content = yaml_source.parse_yaml(text, COMMAND_LINE)
        else:
            variables.update(_parse_pairs(text))
            continue
        if content is not None and not isinstance(content, YamlMapping):
            raise SourceError(f"-e {text}: it must be a mapping of variables")
        variables.update(content or {})
    return variables


def _parse_pairs(text: str) -> dict[str, YamlText]:
    """`a=1 b="two words"`, as Ansible reads it: blanks part the pairs, but for those in quotes."""
    lexer = shlex.shlex(text, posix=True, punctuation_chars=False)
    lexer.whitespace_split, lexer.commenters, lexer.escape = True, "", ""
    try:
        split_words = [text] if "{{" in text else list(lexer)
    except ValueError as error:
        raise SourceError(f"-e {text}: {error}") from None
    for word in split_words:
        if not re.match(r"\s*[A-Za-z_]\w*=", word):
            raise SourceError(
                f"-e {text}: '{word}' is not a variable",
                advice="Write name=value, name='two words', a mapping in braces, or @file.",
            )
    pairs = (word.partition("=") for word in split_words)
    return {name.strip(): YamlText.given(value) for name, _, value in pairs}

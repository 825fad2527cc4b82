"""YAML as a person wrote it: every text and every mapping knows its place in the file.

`Text` is also the mark of trust: only a `Text` (read from a file of the operator's, or given on the
command line) is ever rendered as a template; what comes from a rig is a plain `str` and never is.
What deeprig itself writes into a file of the inventory is tagged `!unsafe`, as Ansible has it, and
is read back as `Unsafe`: data, too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

import yaml

from provision.errors import Position, SourceError

COMMAND_LINE = "<command line>"


class YamlText(str):
    """A string with its position; rendered as a template where Ansible would."""

    __slots__ = ("position",)
    position: Position

    @classmethod
    def at(cls, value: str, position: Position) -> YamlText:
        """`value`, written at `position`."""
        text = cls(value)
        text.position = position
        return text

    @classmethod
    def given(cls, value: str) -> YamlText:
        """`value`, given on the command line."""
        return cls.at(value, Position(COMMAND_LINE, 1, 1))

    def __reduce__(self) -> tuple[Any, ...]:
        return YamlText.at, (str(self), self.position)


class Unsafe(str):
    """A string that a program wrote (Ansible's `!unsafe`): never a template, whatever it holds."""

    __slots__ = ()


def is_template(value: Any) -> bool:
    """Return whether a value is a text with something to render in it."""
    return isinstance(value, YamlText) and any(mark in value for mark in ("{{", "{%", "{#"))


class YamlMapping(dict[str, Any]):
    """A mapping with the position of itself and of each key."""

    __slots__ = ("keys_at", "position")
    position: Position
    keys_at: dict[str, Position]

    def at(self, key: str) -> Position:
        """Return the place of `key`; the place of the mapping where it has no such key."""
        return self.keys_at.get(key, self.position)


class YamlSequence(list[Any]):
    """A list with the position of itself and of each item."""

    __slots__ = ("items_at", "position")
    position: Position
    items_at: tuple[Position, ...]


_Base: TypeAlias = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # type: ignore[valid-type]


class _Loader(_Base):  # type: ignore[misc]
    """Builds Text, Mapping and Sequence, and refuses duplicate keys."""

    path: str
    deep_construct: bool  # PyYAML's: fill an object at once, not at the document's end

    def position(self, node: yaml.Node) -> Position:
        mark = node.start_mark
        return Position(self.path, mark.line + 1, mark.column + 1)

    def text(self, node: yaml.ScalarNode) -> YamlText:
        return YamlText.at(node.value, self.position(node))

    def unsafe(self, node: yaml.Node) -> Any:
        if isinstance(node, yaml.ScalarNode):
            return Unsafe(node.value)
        build: Any = self.mapping if isinstance(node, yaml.MappingNode) else self.sequence
        outer, self.deep_construct = self.deep_construct, True
        try:
            (value,) = build(node)  # yields the object, then fills it
        finally:
            self.deep_construct = outer
        return mark_unsafe(value)

    def sequence(self, node: yaml.SequenceNode) -> Any:
        result = YamlSequence()
        result.position = self.position(node)
        result.items_at = tuple(map(self.position, node.value))
        yield result
        result.extend(self.construct_object(child, deep=True) for child in node.value)

    def mapping(self, node: yaml.MappingNode) -> Any:
        result = YamlMapping()
        result.position = self.position(node)
        result.keys_at = {}
        yield result
        own_keys = [key_node for key_node, _ in node.value]
        written: set[Position] = set()
        self.flatten_mapping(node)  # what `<<` brings comes first, and may be overridden
        for key_node, value_node in node.value:
            key: Any = self.construct_object(key_node, deep=True)
            at = self.position(key_node)
            if isinstance(key, (dict, list)):
                raise SourceError("a key must be a plain word", at, quoting_advice(key_node))
            if key in result and result.keys_at[key] in written and key_node in own_keys:
                first = result.keys_at[key].line
                raise SourceError(
                    f"duplicate key '{key}': it is already in line {first}",
                    at,
                    "The second would silently replace the first: remove one of them.",
                )
            if key_node in own_keys:
                written.add(at)
            result.keys_at[key] = at
            result[key] = self.construct_object(value_node, deep=True)


def mark_unsafe(value: Any) -> Any:
    """Return a copy in which every text, keys included, is Unsafe; positions stay."""
    if isinstance(value, str):
        return Unsafe(value)
    if isinstance(value, dict):
        mapping = YamlMapping((mark_unsafe(key), mark_unsafe(item)) for key, item in value.items())
        if isinstance(value, YamlMapping):
            mapping.position, mapping.keys_at = value.position, dict(value.keys_at)
        return mapping
    if isinstance(value, (list, tuple)):
        items = YamlSequence(map(mark_unsafe, value))
        if isinstance(value, YamlSequence):
            items.position, items.items_at = value.position, value.items_at
        return items
    return value


_Loader.add_constructor("!unsafe", _Loader.unsafe)
_Loader.add_constructor("tag:yaml.org,2002:str", _Loader.text)
_Loader.add_constructor("tag:yaml.org,2002:seq", _Loader.sequence)
_Loader.add_constructor("tag:yaml.org,2002:map", _Loader.mapping)
# A date in a variable is the text that was written, as Ansible's users mean it.
_Loader.add_constructor("tag:yaml.org,2002:timestamp", _Loader.text)


def quoting_advice(node: yaml.Node) -> str:
    """Return the commonest reason for a mapping as a key: a template that is not quoted."""
    if isinstance(node, yaml.MappingNode):
        return 'A value that begins with "{{" must be quoted: "{{ like_this }}".'
    return ""


def load_yaml(path: str | Path) -> Any:
    """Return the one document of a YAML file; None when it is empty. Raises SourceError."""
    try:
        content = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SourceError(f"the file {path} does not exist") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"can't read {path}: {error}") from None
    return parse_yaml(content, str(path))


def parse_yaml(content: str, path: str) -> Any:
    """Return the one document in `content`. path: of the file, for positions."""
    loader = _Loader(content)
    loader.path = path
    try:
        return loader.get_single_data()
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(error, content, path) from None
    except yaml.YAMLError as error:
        raise SourceError(f"{first_line(error)}", Position(path, 1, 1)) from None
    finally:
        loader.dispose()


def first_line(error: Exception) -> str:
    """Return the first line of an error's text."""
    return str(error).splitlines()[0]


def _syntax_error(error: yaml.MarkedYAMLError, content: str, path: str) -> SourceError:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line, mark.column) if mark else (0, 0)
    lines = content.splitlines()
    text = lines[line] if line < len(lines) else ""
    indent = text[: len(text) - len(text.lstrip())]
    if "\t" in indent:
        at = Position(path, line + 1, indent.index("\t") + 1)
        return SourceError("a tab where YAML wants blanks", at, "Indent with blanks only.")
    problem = (error.problem or "not valid YAML").strip()
    at = Position(path, line + 1, column + 1)
    advice = ""
    if "mapping values are not allowed" in problem:
        advice = 'A value that holds ": " must be quoted.'
    elif "{{" in text:
        advice = 'A value that begins with "{{" must be quoted: "{{ like_this }}".'
    return SourceError(f"not valid YAML: {problem}", at, advice)


class _Dumper(yaml.SafeDumper):
    """Writes what was read here: Unsafe with its tag, Text without."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_mapping(dumper: yaml.SafeDumper, data: dict[Any, Any]) -> yaml.Node:
    """Return a mapping that `mark_unsafe` made has one tag, and not one at each text."""
    if data and all(isinstance(key, Unsafe) for key in data):
        return dumper.represent_mapping("!unsafe", _unmark(data).items())
    return dumper.represent_dict(data)


def _unmark(value: Any) -> Any:
    if isinstance(value, Unsafe):
        return str(value)
    if isinstance(value, dict):
        return {_unmark(key): _unmark(item) for key, item in value.items()}
    return [_unmark(item) for item in value] if isinstance(value, list) else value


_Dumper.add_representer(YamlText, lambda dumper, value: dumper.represent_str(str(value)))
_Dumper.add_representer(
    Unsafe, lambda dumper, value: dumper.represent_scalar("!unsafe", str(value), style='"')
)
_Dumper.add_multi_representer(dict, _represent_mapping)
_Dumper.add_multi_representer(list, yaml.SafeDumper.represent_list)


def dump_yaml(value: Any) -> str:
    """Write a value as YAML that `parse` reads back as it is: block style, keys in their order."""
    return str(yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000))

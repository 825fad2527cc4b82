"""What a module accepts: its options, as Ansible's argument specifications declare them.

A module's file holds `OPTIONS`, a table of name -> `Option`. The operator's side reads it when a
playbook is loaded (an unknown option is an error with its line) and again when a task's templates
are rendered (`normalize` gives every option its type, its default and its canonical name), so a
module's `run` gets complete, typed arguments and checks nothing twice.
"""

from __future__ import annotations

import difflib
from typing import Any, Mapping, NamedTuple

TRUE = frozenset(("yes", "on", "true", "1", "y", "t"))
FALSE = frozenset(("no", "off", "false", "0", "n", "f"))


class OptionError(ValueError):
    """An option that a module does not have, lacks, or can't take with this value.

    `option` is the wrong name, or None for a missing option.
    """

    def __init__(self, message: str, option: str | None = None) -> None:
        super().__init__(message)
        self.option = option


class Option(NamedTuple):
    """One option of a module.

    `kind` is one of str, path, int, float, bool, list, dict, mode, raw; of a list, `elements`
    is the kind of each element.
    """

    kind: str = "str"
    required: bool = False
    default: Any = None
    choices: tuple[Any, ...] = ()
    aliases: tuple[str, ...] = ()
    elements: str = "str"


Options = Mapping[str, Option]


def canonical_names(options: Options) -> dict[str, str]:
    """Return every accepted name, aliases included, with its canonical name."""
    names = {name: name for name in options}
    for name, option in options.items():
        names.update(dict.fromkeys(option.aliases, name))
    return names


def suggestion(word: Any, names: Any) -> str:
    """'; did you mean X?' for a near miss, else an empty string."""
    near = difflib.get_close_matches(str(word), [str(name) for name in names], n=1)
    return f"; did you mean '{near[0]}'?" if near else ""


def check_names(module: str, options: Options, given: Mapping[str, Any]) -> None:
    """Raise OptionError for a name that is unknown, given twice by an alias, or missing."""
    names = canonical_names(options)
    seen: dict[str, str] = {}
    for name in given:
        if name not in names:
            option_names = ", ".join(sorted(options))
            hint = suggestion(name, names) or f" (it has: {option_names})"
            raise OptionError(f"{module} has no option '{name}'{hint}", name)
        target = names[name]
        if target in seen:
            raise OptionError(f"'{name}' and '{seen[target]}' are the same option", name)
        seen[target] = name
    for name, option in options.items():
        if option.required and name not in seen:
            raise OptionError(f"{module} needs the option '{name}'")


def normalize(module: str, options: Options, given: Mapping[str, Any]) -> dict[str, Any]:
    """Complete, typed arguments of a module; raises OptionError."""
    check_names(module, options, given)
    names = canonical_names(options)
    values = {name: option.default for name, option in options.items()}
    for name, value in given.items():
        if value is not None:
            values[names[name]] = check_value(value, options[names[name]], name)
    for name, option in options.items():
        if option.required and values[name] is None:
            raise OptionError(f"{module} needs the option '{name}', which is empty", name)
    return values


def check_value(value: Any, option: Option, name: str) -> Any:
    """`value` in the type that `option` has, and one of its choices; raises OptionError."""
    if isinstance(value, bool) and option.kind == "str":
        # YAML reads a bare yes or no as a truth value, and here a word was meant.
        words = [word for word in option.choices if word in (TRUE if value else FALSE)]
        value = words[0] if len(words) == 1 else value
    typed = convert(value, option.kind, name, option.elements)
    for item in typed if option.kind == "list" else [typed]:
        if option.choices and item not in option.choices:
            allowed = ", ".join(str(choice) for choice in option.choices)
            raise OptionError(f"'{name}' is {item!r}, and must be one of: {allowed}", name)
    return typed


def convert(value: Any, kind: str, name: str, elements: str = "str") -> Any:
    """`value` as `kind`, by Ansible's rules; raises OptionError."""
    if kind == "raw":
        return value
    if kind in ("str", "path"):
        if isinstance(value, (dict, list)):
            raise OptionError(f"'{name}' must be text, not a {type(value).__name__}", name)
        return str(value)
    if kind == "mode":
        # YAML reads a bare 0644 as the octal number 420; text is taken as written.
        return format(value, "04o") if isinstance(value, int) else str(value)
    if kind == "bool":
        return as_bool(value, name)
    if kind in ("int", "float"):
        try:
            return int(value) if kind == "int" else float(value)
        except (TypeError, ValueError):
            raise OptionError(f"'{name}' must be a number, not {value!r}", name) from None
    if kind == "dict":
        if not isinstance(value, dict):
            raise OptionError(f"'{name}' must be a mapping, not {value!r}", name)
        return dict(value)
    if kind == "list":
        if isinstance(value, str):
            value = [part.strip() for part in value.split(",")]
        elif not isinstance(value, (list, tuple)):
            value = [value]
        return [convert(element, elements, name) for element in value]
    raise AssertionError(f"unknown kind of option: {kind}")


def as_bool(value: Any, name: str = "value") -> bool:
    """Ansible's truth values; raises OptionError for anything else."""
    if isinstance(value, bool):
        return value
    text = str(value).strip().lower()
    if text in TRUE:
        return True
    if text in FALSE:
        return False
    raise OptionError(f"'{name}' must be true or false, not {value!r}", name)

"""Playbooks: YAML to typed plays and tasks.

Everything that is wrong as written is found here, before a rig is touched, with file, line and
column: an unknown module, option or keyword (never ignored), a value of the wrong type. Blocks and
imports are resolved here too, so that a play is a flat list of tasks, each with all that it
inherits.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from provision.engine import module_registry
from provision.engine.keywords import (
    BLOCK,
    IMPORTED_PLAYS,
    IMPORTED_TASKS,
    PLAY,
    TASK,
    check_keywords,
)
from provision.engine.tasks import Play, Scope, Task
from provision.errors import DeeprigError, Position, SourceError
from provision.inventory import yaml_source
from provision.inventory.yaml_source import YamlMapping, YamlSequence, YamlText, is_template
from provision.remote.options import (
    OptionError,
    canonical_names,
    check_names,
    check_value,
    suggestion,
)

# Ansible reads these out of a command's own text.
_OPTION_IN_TEXT = re.compile(r"(?:^|\s)((?:creates|removes|chdir|executable|stdin)=)")


def load(path: str | Path) -> list[Play]:
    """Return all plays of a playbook file, imports resolved. Raises SourceError."""
    return list(_plays(Path(path), Scope(), (Path(path).resolve(),)))


def _check_circle(path: Path, importing: tuple[Path, ...], position: Position) -> None:
    """Raise SourceError for a file that is already being imported."""
    if path.resolve() in importing:
        raise SourceError(f"{path} imports itself", position)


def _plays(path: Path, scope: Scope, importing: tuple[Path, ...]) -> Iterator[Play]:
    content = yaml_source.load_yaml(path)
    if not isinstance(content, YamlSequence):
        raise SourceError(
            "a playbook is a list of plays: it begins with '- hosts: …'", Position(str(path), 1, 1)
        )
    for entry in content:
        if not isinstance(entry, YamlMapping):
            raise SourceError("a play must be a mapping", content.position)
        key = next(
            (
                key
                for key in entry
                if str(key).removeprefix(module_registry.PREFIX) == "import_playbook"
            ),
            None,
        )
        if key is None:
            yield _play(entry, path, scope)
            continue
        check_keywords(entry, IMPORTED_PLAYS, "an imported playbook", extra=frozenset((key,)))
        imported = path.parent / _text(entry, key)
        if not imported.is_file():
            raise SourceError(f"the playbook {entry[key]} does not exist", entry.at(key))
        _check_circle(imported, importing, entry.at(key))
        inner = _inherit(entry, scope)
        # As Ansible has it: the outermost import's variables win.
        inner = replace(inner, variables={**inner.variables, **scope.variables})
        yield from _plays(imported, inner, (*importing, imported.resolve()))


def _play(entry: YamlMapping, path: Path, outer: Scope) -> Play:
    check_keywords(entry, PLAY, "a play")
    if "hosts" not in entry:
        raise SourceError("a play needs 'hosts'", entry.position)
    scope = replace(_inherit(entry, outer), variables={})
    # An import's variables are its plays', as if they stood there.
    variables = {**_mapping(entry, "vars"), **outer.variables, **_variable_files(entry, path)}
    hosts = entry["hosts"]
    # As Ansible has it: an import's condition is its tasks', not its handlers'.
    handlers = tuple(_tasks(entry, "handlers", path, replace(scope, when=())))
    tasks = tuple(
        task
        for section in ("pre_tasks", "tasks", "post_tasks")
        for task in _tasks(entry, section, path, scope)
    )
    _check_notified((*tasks, *handlers), handlers)
    return Play(
        name=str(entry.get("name", "")),
        step=path.stem,
        hosts=",".join(map(str, hosts)) if isinstance(hosts, list) else str(hosts),
        position=entry.position,
        folder=path.parent,
        tasks=tasks,
        handlers=handlers,
        variables=variables,
        gather_facts=entry.get("gather_facts", True),
        scope=scope,
    )


def _check_notified(tasks: tuple[Task, ...], handlers: tuple[Task, ...]) -> None:
    """Raise SourceError for a handler that is notified and does not exist."""
    handler_names = {str(name) for handler in handlers for name in (handler.name, *handler.listen)}
    if any(is_template(handler.name) for handler in handlers):
        return
    for task in tasks:
        for name in task.notify:
            if str(name) not in handler_names and not is_template(name):
                raise SourceError(
                    f"unknown handler '{name}' in this play{suggestion(str(name), handler_names)}",
                    getattr(name, "position", task.position),
                    task=task.title,
                )


def _variable_files(entry: YamlMapping, path: Path) -> dict[str, Any]:
    variables: dict[str, Any] = {}
    for name in _list(entry, "vars_files"):
        file = path.parent / str(name)
        if not file.is_file():
            raise SourceError(f"the file {name} does not exist", getattr(name, "position", None))
        variables.update(_variable_file(file))
    return variables


@functools.cache
def _variable_file(file: Path) -> dict[str, Any]:
    """Return one file of variables; many plays share it."""
    content = yaml_source.load_yaml(file)
    if content is not None and not isinstance(content, YamlMapping):
        raise SourceError(f"{file} must be a mapping of variables", Position(str(file), 1, 1))
    return content or {}


def _tasks(
    entry: YamlMapping, section: str, path: Path, scope: Scope, importing: tuple[Path, ...] = ()
) -> Iterator[Task]:
    for item in _list(entry, section):
        if not isinstance(item, YamlMapping):
            raise SourceError(f"each entry of '{section}' must be a task", entry.at(section))
        yield from _task(item, path, scope, importing)


def _task(
    entry: YamlMapping, path: Path, outer: Scope, importing: tuple[Path, ...]
) -> Iterator[Task]:
    scope = _inherit(entry, outer)
    if "block" in entry:
        check_keywords(entry, BLOCK, "a block", extra=frozenset(("block",)))
        yield from _tasks(entry, "block", path, scope, importing)
        return
    key, module = _module_of(entry)
    if module == "import_tasks":
        check_keywords(entry, IMPORTED_TASKS, "an import", extra=frozenset((key,)))
        yield from _read_imported(entry, key, path, scope, importing)
        return
    check_keywords(entry, TASK, "a task", extra=frozenset((key,)))
    control = _mapping(entry, "loop_control")
    for name in control:
        if name not in ("loop_var", "label"):
            raise SourceError(
                f"loop_control has no '{name}' here; it has loop_var and label",
                entry.at("loop_control"),
            )
    yield Task(
        name=_name(entry),
        module=module,
        args=_arguments(entry, key, module),
        position=entry.position,
        scope=scope,
        register=entry.get("register"),
        loop=entry.get("loop"),
        loop_var=str(control.get("loop_var", "item")),
        label=control.get("label"),
        notify=tuple(_list(entry, "notify")),
        listen=tuple(_list(entry, "listen")),
        changed_when=tuple(_list(entry, "changed_when")) if "changed_when" in entry else None,
        failed_when=tuple(_list(entry, "failed_when")) if "failed_when" in entry else None,
    )


def _read_imported(
    entry: YamlMapping, key: str, path: Path, scope: Scope, importing: tuple[Path, ...]
) -> Iterator[Task]:
    given = entry[key]
    if isinstance(given, YamlMapping) and list(given) != ["file"]:
        raise SourceError("import_tasks takes one option, 'file'", entry.at(key))
    name = _text(given, "file") if isinstance(given, YamlMapping) else _text(entry, key)
    file = path.parent / name
    content = yaml_source.load_yaml(file) if file.is_file() else None
    if content is None and not file.is_file():
        raise SourceError(f"the task file {name} does not exist", entry.at(key))
    if not isinstance(content, YamlSequence):
        raise SourceError("a task file is a list of tasks", Position(str(file), 1, 1))
    _check_circle(file, importing, entry.at(key))
    for item in content:
        if not isinstance(item, YamlMapping):
            raise SourceError("each entry of a task file must be a task", content.position)
        yield from _task(item, file, scope, (*importing, file.resolve()))


def _inherit(entry: YamlMapping, outer: Scope) -> Scope:
    def inherit(name: str) -> Any:
        value = entry.get(name)
        return getattr(outer, name) if value is None else value

    return Scope(
        when=(*outer.when, *_list(entry, "when")),
        tags=outer.tags | frozenset(_words(_list(entry, "tags"))),
        variables={**outer.variables, **_mapping(entry, "vars")},
        environment=(*outer.environment, *_list(entry, "environment")),
        become=inherit("become"),
        become_user=inherit("become_user"),
        ignore_errors=inherit("ignore_errors"),
        check_mode=inherit("check_mode"),
        diff=inherit("diff"),
        no_log=inherit("no_log"),
    )


def _module_of(entry: YamlMapping) -> tuple[str, str]:
    """Return the key of a task that names its module, and the module's short name."""
    candidates = [key for key in entry if key not in TASK]
    errors: list[SourceError] = []
    modules: list[tuple[str, str]] = []
    for key in candidates:
        try:
            modules.append((key, module_registry.canonical_name(str(key))))
        except DeeprigError as error:
            errors.append(SourceError(error.message, entry.at(key), error.advice))
    if len(modules) == 1:
        return modules[0]  # what else is unknown, check_keywords names
    if len(modules) > 1:
        names = " and ".join(key for key, _ in modules)
        raise SourceError(f"a task has one module, and this has {names}", entry.position)
    # Not a module: a keyword may be what was meant.
    check_keywords(entry, TASK, "a task", only_near_misses=True)
    if errors:
        raise errors[0]
    raise SourceError("a task needs a module", entry.position)


def _arguments(entry: YamlMapping, key: str, module: str) -> YamlMapping:
    """Return a task's arguments as a mapping, checked as far as they are constant."""
    value = entry[key]
    args = YamlMapping()
    args.position = entry.at(key)
    args.keys_at = {}
    extra = entry.get("args")
    for given in (value, extra):
        if isinstance(given, YamlMapping):
            args.update(given)
            args.keys_at.update(given.keys_at)
    if isinstance(value, str):
        if module not in module_registry.FREE_FORM:
            raise SourceError(
                f"the options of {module} must be a mapping, not text",
                entry.at(key),
                f"Write each option on its own line below '{key}:'.",
            )
        if module in ("command", "shell") and (option := _OPTION_IN_TEXT.search(value)):
            raise SourceError(
                f"'{option.group(1)}' within the command: Ansible takes it for an option",
                entry.at(key),
                "Write it below 'args:', or the whole command as 'cmd:'.",
                _name(entry),
            )
        args["_raw_params"] = value
    elif value is not None and not isinstance(value, YamlMapping):
        raise SourceError(f"the options of {module} must be a mapping", entry.at(key))
    try:
        _check_constants(module, args)
    except OptionError as error:
        raise SourceError(str(error), args.at(error.option or ""), task=_name(entry)) from None
    return args


def _check_constants(module: str, args: YamlMapping) -> None:
    """Raise OptionError for what can be known to be wrong before anything is rendered."""
    table = module_registry.options(module)
    if module_registry.takes_any_option(module):
        return
    check_names(module, table, args)
    names = canonical_names(table)
    for name, value in args.items():
        if value is not None and not _has_template(value):
            check_value(value, table[names[name]], name)


def _has_template(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_has_template(item) for pair in value.items() for item in pair)
    if isinstance(value, list):
        return any(_has_template(item) for item in value)
    return is_template(value)


def _name(entry: YamlMapping) -> str:
    """Return the name as written: a Text, which may be a template."""
    name = entry.get("name") or ""
    return name if isinstance(name, str) else str(name)


def _text(entry: YamlMapping, key: str) -> str:
    if not isinstance(entry[key], YamlText):
        raise SourceError(f"'{key}' must be text", entry.at(key))
    return str(entry[key])


def _list(entry: YamlMapping, key: str) -> list[Any]:
    value = entry.get(key)
    if value is None:
        return []
    return list(value) if isinstance(value, list) else [value]


def _words(values: list[Any]) -> list[str]:
    return [word.strip() for value in values for word in str(value).split(",") if word.strip()]


def _mapping(entry: YamlMapping, key: str) -> dict[str, Any]:
    value = entry.get(key)
    if value is None:
        return {}
    if not isinstance(value, YamlMapping):
        raise SourceError(f"'{key}' must be a mapping", entry.at(key))
    return value

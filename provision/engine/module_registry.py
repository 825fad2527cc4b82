"""Which modules there are: those that run on the rig, and the actions of the operator's side.

A rig's module is a file of `provision/remote/modules`, an action one of `provision/actions`; both
hold `OPTIONS`. Adding a module is adding its file.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from types import ModuleType

import provision.engine.actions
import provision.remote.modules
from provision.errors import DeeprigError
from provision.remote.options import Options, suggestion

PREFIX = "ansible.builtin."
# Resolved when a playbook is loaded.
STATIC = frozenset(("import_tasks",))
# Modules whose text after the colon is one free argument, not options.
FREE_FORM = frozenset(("command", "shell", "meta", "import_tasks", "import_playbook"))


@functools.cache
def action_names() -> frozenset[str]:
    """Names of what the operator's side does itself (a trailing _ avoids a Python keyword)."""
    return frozenset(
        module.name.rstrip("_")
        for module in pkgutil.iter_modules(provision.engine.actions.__path__)
    )


@functools.cache
def remote_names() -> frozenset[str]:
    """Names of what runs on the rig."""
    return frozenset(
        module.name for module in pkgutil.iter_modules(provision.remote.modules.__path__)
    )


def canonical_name(name: str) -> str:
    """Return the short name of a module. Raises DeeprigError without a position."""
    short = name.removeprefix(PREFIX)
    known_modules = action_names() | remote_names() | STATIC
    if short in known_modules:
        return short
    if "." in short:
        collection = name.rsplit(".", 1)[0]
        raise DeeprigError(
            f"unknown module '{name}': deeprig plays ansible.builtin only, not {collection}",
            advice="Use a module of ansible.builtin, or play this file with ansible-playbook.",
        )
    raise DeeprigError(
        f"unknown module '{name}'{suggestion(short, known_modules)}",
        advice="docs/playbooks.md lists the modules of ansible.builtin that deeprig has.",
    )


@functools.cache
def action(name: str) -> ModuleType | None:
    """Return the operator's side of a module, or None when all of it runs on the rig."""
    if name not in action_names():
        return None
    suffix = "_" if name == "assert" else ""
    return importlib.import_module(f"provision.engine.actions.{name}{suffix}")


def options(name: str) -> Options:
    """Return the options that a playbook may pass to a module."""
    operators = action(name)
    if operators is None:
        return remote_options(name)
    action_options: Options = operators.OPTIONS
    return action_options


@functools.cache
def remote_options(name: str) -> Options:
    """Return the options of the rig's side of a module."""
    module_options: Options = importlib.import_module(f"provision.remote.modules.{name}").OPTIONS
    return module_options


def takes_any_option(name: str) -> bool:
    """Return whether a module's options are names of the user's own, as set_fact's are."""
    return bool(getattr(action(name), "ANY_OPTION", False))


def unrendered_options(name: str) -> frozenset[str]:
    """Options that an action evaluates itself: conditions, and names of variables."""
    return frozenset(getattr(action(name), "UNRENDERED", ()))

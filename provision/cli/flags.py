"""The flags that every verb over a fleet shares, as Fabric's command line wants them.

`@fleet_task` makes a task of a function `verb(context, flags, own arguments …)`: the fields of
`Flags` become its flags, so that no verb lists them again.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, fields
from typing import Any

from fabric import task

from provision.cli.executor import FleetContext, FleetTask


def _flag(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class Flags:
    """What the operator may say to a verb; a one-letter name is a short flag."""

    # Fabric has these two itself, but takes them for a positional argument that is still missing
    # (`fab play -H rig FILE.yml`) unless they are the task's own, too.
    H: str = _flag("", "the hosts: names, groups, wildcards or addresses, comma-separated")
    i: tuple[str, ...] = _flag((), "a private key file (repeatable)")
    check: bool = _flag(False, "say what would change, and change nothing")
    diff: bool = _flag(False, "show what changes in files")
    tags: str = _flag("", "only tasks with one of these tags: a,b")
    skip_tags: str = _flag("", "leave out tasks with one of these tags: a,b")
    e: tuple[str, ...] = _flag((), "a variable: name=value, {yaml} or @file.yml (repeatable)")
    json: bool = _flag(False, "print one JSON document instead of lines")
    verbose: bool = _flag(False, "print a line for every task")
    accept_new: bool = _flag(False, "remember host keys that are not known yet, without asking")
    inventory: str = _flag("", "another inventory: a file or a folder")


OF_PLAYS = ("check", "diff", "tags", "skip_tags")  # what only a playbook's run can mean


def _listed(parameter: inspect.Parameter) -> inspect.Parameter:
    """Invoke takes a repeatable flag as a list."""
    return parameter.replace(default=[]) if parameter.default == () else parameter


def fleet_task(
    without: Collection[str] = (), **own_help: str
) -> Callable[[Callable[..., None]], FleetTask]:
    """Make a verb over all hosts that -H names.

    without: shared flags that mean nothing to it. own_help: help for the verb's own arguments.
    """
    shared_flags = [one for one in fields(Flags) if one.name not in without]

    def decorate(body: Callable[..., None]) -> FleetTask:
        own = [_listed(one) for one in list(inspect.signature(body).parameters.values())[2:]]
        shared = [
            inspect.Parameter(
                one.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=list(one.default) if isinstance(one.default, tuple) else one.default,
            )
            for one in shared_flags
        ]

        @functools.wraps(body)
        def call(context: FleetContext, *args: Any, **given: Any) -> None:
            names = {one.name for one in shared_flags}
            flags = Flags(**{name: given.pop(name) for name in names & set(given)})
            body(context, flags, *args, **given)

        context = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        call.__signature__ = inspect.Signature([context, *own, *shared])  # type: ignore[attr-defined]
        made: FleetTask = task(
            klass=FleetTask,
            help={**own_help, **{one.name: one.metadata["help"] for one in shared_flags}},
            iterable=[
                *(one.name for one in own if one.default == []),
                *(one.name for one in shared_flags if one.default == ()),
            ],
            positional=[one.name for one in own if one.default is inspect.Parameter.empty],
            auto_shortflags=False,
        )(call)
        return made

    return decorate

"""Commands that run on all hosts of -H at once, as Fabric's command line wants them.

`@fleet_task` makes a task of a function `command(context, flags, own arguments …)`: the fields of
`Flags` become its flags, so that no command lists them again.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection
from dataclasses import fields, replace
from typing import Any

import fabric
from fabric import task
from invoke.context import Context
from invoke.tasks import Call

from provision.cli.flags import Flags
from provision.errors import PatternError
from provision.inventory.hosts import Host, Inventory, load_inventory


class FleetTask(fabric.Task):  # type: ignore[misc]
    """A task that takes all hosts at once: its context is a `FleetContext`."""


class FleetContext(Context):
    """A context that knows what -H named."""

    patterns: tuple[str, ...]

    def fleet(self, flags: Flags) -> tuple[Inventory, list[Host]]:
        """Return the inventory and the hosts of -H. Raises PatternError, SourceError.

        As in Ansible, -e may set connection variables; it overrides the inventory.
        """
        from provision.engine.run_options import extra_variables

        extra = extra_variables(flags.e)
        loaded = load_inventory(flags.inventory)
        if flags.i:
            self.config.connect_kwargs["key_filename"] = list(flags.i)
        patterns = [*self.patterns, *([flags.H] if flags.H else [])]
        if not patterns:
            host_names = ", ".join(loaded.hosts) or "none yet: add yours to inventory/rigs.yml"
            raise PatternError(
                "no host is named", advice=f"Use -H NAME. The inventory has: {host_names}."
            )
        named = loaded.select(patterns)
        return loaded, [replace(host, variables={**host.variables, **extra}) for host in named]


class FleetCall(Call):
    """A call of a FleetTask."""

    patterns: tuple[str, ...] = ()  # set on each clone

    def make_context(self, config: Any) -> FleetContext:
        """Return the context that the task's body gets."""
        context = FleetContext(config)
        # Context's own __setattr__ writes into the configuration.
        object.__setattr__(context, "patterns", self.patterns)
        return context


def _as_list_parameter(parameter: inspect.Parameter) -> inspect.Parameter:
    """Invoke takes a repeatable flag as a list."""
    return parameter.replace(default=[]) if parameter.default == () else parameter


def fleet_task(
    without: Collection[str] = (), **own_help: str
) -> Callable[[Callable[..., None]], FleetTask]:
    """Make a verb over all hosts that -H names.

    without: shared flags that mean nothing to it. own_help: help for the verb's own arguments.
    """
    shared_flags = [field for field in fields(Flags) if field.name not in without]

    def decorate(body: Callable[..., None]) -> FleetTask:
        own_parameters = [
            _as_list_parameter(parameter)
            for parameter in list(inspect.signature(body).parameters.values())[2:]
        ]
        shared = [
            inspect.Parameter(
                shared_flag.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=list(shared_flag.default)
                if isinstance(shared_flag.default, tuple)
                else shared_flag.default,
            )
            for shared_flag in shared_flags
        ]

        @functools.wraps(body)
        def call(context: FleetContext, *args: Any, **given: Any) -> None:
            names = {shared_flag.name for shared_flag in shared_flags}
            flags = Flags(**{name: given.pop(name) for name in names & set(given)})
            body(context, flags, *args, **given)

        context = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        call.__signature__ = inspect.Signature([context, *own_parameters, *shared])  # type: ignore[attr-defined]
        made: FleetTask = task(
            klass=FleetTask,
            help={
                **own_help,
                **{shared_flag.name: shared_flag.metadata["help"] for shared_flag in shared_flags},
            },
            iterable=[
                *(parameter.name for parameter in own_parameters if parameter.default == []),
                *(shared_flag.name for shared_flag in shared_flags if shared_flag.default == ()),
            ],
            positional=[
                parameter.name
                for parameter in own_parameters
                if parameter.default is inspect.Parameter.empty
            ],
            auto_shortflags=False,
        )(call)
        return made

    return decorate

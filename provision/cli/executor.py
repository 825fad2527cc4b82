"""Where Fabric meets the inventory: -H names hosts, groups or addresses, and errors end here.

fabric.yaml names `InventoryExecutor`. A `FleetTask` is called once with all the hosts that -H named
(it runs them at once); any other task, and `fab -H rig -- command`, is called once for each.
"""

from __future__ import annotations

import os
import sys
import traceback
from typing import Any, NoReturn

import fabric
from fabric.tasks import ConnectionCall
from invoke.exceptions import Exit, Failure
from invoke.tasks import Call

from provision.boundary.text import clean
from provision.cli.fleet import FleetCall, FleetContext, FleetTask
from provision.errors import DeeprigError, ExitStatus, PatternError, describe
from provision.inventory.hosts import load_inventory


class RigCall(ConnectionCall):  # type: ignore[misc]
    """A call of an ordinary task on one host: its context is a `RigConnection`."""

    def make_context(self, config: Any) -> Any:
        """Return the connection that the task's body gets."""
        from provision.ssh.connection import RigConnection

        return RigConnection(self.init_kwargs["rig"], config)


class InventoryExecutor(fabric.Executor):  # type: ignore[misc]
    """Fabric's executor with the inventory for -H."""

    def execute(self, *tasks: Any) -> Any:
        """Run tasks; print deeprig's own errors and exit with their status."""
        try:
            return super().execute(*tasks)
        except DeeprigError as error:
            fail(error)
        except BrokenPipeError:  # `fab … | head` closed the pipe
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise Exit(code=ExitStatus.PIPE_CLOSED) from None
        except KeyboardInterrupt:
            print(
                "\nInterrupted. A task that was under way ends on the rig by itself; "
                "run again to go on.",
                file=sys.stderr,
            )
            raise Exit(code=ExitStatus.INTERRUPTED) from None
        except (Exit, Failure):
            raise
        except Exception:  # a fault of ours, whose text may be a rig's
            print(clean(traceback.format_exc()), file=sys.stderr)
            raise Exit(code=ExitStatus.INTERNAL) from None

    def normalize_hosts(self, hosts: Any) -> list[dict[str, Any]]:
        """Return the hosts of the inventory that the patterns name."""
        if not hosts:
            return []
        selected = load_inventory(None).select(hosts)
        return [{"rig": host, "host": host.name} for host in selected]

    def parameterize(self, call: Any, connection_init_kwargs: dict[str, Any]) -> Any:
        """Return a call of an ordinary task, for one host."""
        return call.clone(into=RigCall, with_={"init_kwargs": connection_init_kwargs})

    def expand_calls(self, calls: Any, apply_hosts: bool = True) -> list[Any]:
        """Return one call for a FleetTask, whatever -H names; Fabric's own way for the others."""
        named = self.core[0].args.hosts.value
        patterns = named.split(",") if named else []
        if self.core.remainder:
            if calls:
                raise PatternError("a verb and a command after -- can't both be run")
            return [_command_call(patterns, str(self.core.remainder))]
        expanded: list[Any] = []
        others: list[Any] = []
        for call in calls:
            made = call if isinstance(call, Call) else Call(call)
            if isinstance(made.task, FleetTask):
                fleet: FleetCall = made.clone(into=FleetCall)  # type: ignore[assignment]
                fleet.patterns = tuple(patterns)
                expanded.append(fleet)
            else:
                others.append(call)
        if others or not expanded:
            expanded += super().expand_calls(others, apply_hosts)
        return expanded


def _command_call(patterns: list[str], words: str) -> FleetCall:
    """Return a call that runs the words after `--` on all hosts. Raises PatternError."""
    if not patterns:
        raise PatternError("no host is named", advice="fab -H NAME -- command")

    def command(context: FleetContext) -> None:
        from provision.cli.command import run_command

        run_command(load_inventory(None).select(context.patterns), context.config, words)

    call = FleetCall(FleetTask(command))
    call.patterns = tuple(patterns)
    return call


def fail(error: DeeprigError) -> NoReturn:
    """Print an error and leave with its status. The line it shows may hold a password."""
    from provision.output.redaction import Redactor

    print(f"error: {Redactor().text(describe(error))}", file=sys.stderr)
    raise Exit(code=error.status)

"""The context of a command whose -H names given hosts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fabric import Config

from provision.cli.flags import Flags
from provision.cli.fleet import FleetContext
from provision.inventory.hosts import Host


class NamedHosts(FleetContext):
    """A context whose fleet is a list of hosts, without an inventory."""

    hosts: Sequence[Host] = ()

    def fleet(self, flags: Flags) -> tuple[Any, list[Host]]:
        return None, list(self.hosts)


def fleet(hosts: Sequence[Host]) -> FleetContext:
    """Return the context of a command that runs on these hosts."""
    context = NamedHosts(Config())
    object.__setattr__(context, "hosts", hosts)  # Context writes attributes into its config
    return context

"""`fab provision` and `fab play`: play a playbook on rigs."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

from provision.cli.flags import Flags
from provision.cli.fleet import FleetContext
from provision.cli.plays import play_file
from provision.paths import PLAYBOOKS

PROVISION = PLAYBOOKS / "provision.yml"


@dataclass(frozen=True)
class Acceptance:
    """What the operator answers to preflight's refusals (playbooks/preflight.yml).

    stop, keep: names of suspects that are the miner's, and that are not, with commas between them.
    """

    workstation: bool = False
    taken_over: bool = False
    stop: str = ""
    keep: str = ""

    def as_variables(self) -> tuple[str, ...]:
        """Return it as `-e` has variables."""
        variables: dict[str, bool | list[str]] = {}
        if self.workstation:
            variables["accept_workstation"] = True
        if self.taken_over:
            variables["accept_taken_over"] = True
        for variable, names in (("mining_stopped", self.stop), ("mining_kept", self.keep)):
            if names:
                variables[variable] = [name.strip() for name in names.split(",")]
        return (json.dumps(variables),) if variables else ()


def provision(
    context: FleetContext, flags: Flags, acceptance: Acceptance, cache: bool = False
) -> None:
    """Play the steps from mining OS to deep learning host.

    cache: this machine fetches each file once, and hands it to the rigs.
    """
    flags = replace(flags, e=(*flags.e, *acceptance.as_variables()))
    if not cache or flags.check:
        play_file(context, flags, PROVISION, "provision")
        return
    # What serves files is loaded for those who use it.
    from provision.downloads.sharing import Sharing
    from provision.output.terminal import Terminal

    sharing = Sharing()
    try:
        play_file(context, flags, PROVISION, "provision", sharing)
    finally:
        terminal = Terminal(error=True)  # --json has stdout to itself
        for line in sharing.summarize():
            terminal.print(line)
        sharing.close()


def play(context: FleetContext, flags: Flags, file: str) -> None:
    """Play one playbook file."""
    play_file(context, flags, Path(file), "play")

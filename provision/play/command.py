"""`fab provision` and `fab play`: play a playbook on rigs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from provision.cli.flags import Flags
from provision.cli.fleet import FleetContext
from provision.cli.plays import play_file
from provision.paths import PLAYBOOKS

PROVISION = PLAYBOOKS / "provision.yml"


def provision(
    context: FleetContext,
    flags: Flags,
    accept_workstation: bool = False,
    stop: str = "",
    keep: str = "",
) -> None:
    """Play the steps from mining OS to deep learning host.

    stop, keep: names of suspects that are the miner's, and that are not, with commas between them.
    """
    if accept_workstation:  # playbooks/preflight.yml asks for it
        flags = replace(flags, e=(*flags.e, "accept_workstation=true"))
    for variable, names in (("mining_stopped", stop), ("mining_kept", keep)):
        if names:
            listed = json.dumps({variable: [name.strip() for name in names.split(",")]})
            flags = replace(flags, e=(*flags.e, listed))
    play_file(context, flags, PROVISION, "provision")


def play(context: FleetContext, flags: Flags, file: str) -> None:
    """Play one playbook file."""
    play_file(context, flags, Path(file), "play")

"""`fab provision` and `fab play`: play a playbook on rigs."""

from __future__ import annotations

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
    accept_taken_over: bool = False,
) -> None:
    """Play the steps from mining OS to deep learning host."""
    # playbooks/preflight.yml asks for these
    if accept_workstation:
        flags = replace(flags, e=(*flags.e, "accept_workstation=true"))
    if accept_taken_over:
        flags = replace(flags, e=(*flags.e, "accept_taken_over=true"))
    play_file(context, flags, PROVISION, "provision")


def play(context: FleetContext, flags: Flags, file: str) -> None:
    """Play one playbook file."""
    play_file(context, flags, Path(file), "play")

"""`fab provision` and `fab play`: play a playbook on rigs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from provision.cli.flags import Flags
from provision.cli.fleet import FleetContext
from provision.cli.plays import play_file
from provision.paths import PLAYBOOKS

PROVISION = PLAYBOOKS / "provision.yml"


def provision(context: FleetContext, flags: Flags, *accepted: str) -> None:
    """Play the steps from mining OS to deep learning host.

    accepted: variables of playbooks/preflight.yml, each of which accepts a risk.
    """
    flags = replace(flags, e=(*flags.e, *(f"{name}=true" for name in accepted)))
    play_file(context, flags, PROVISION, "provision")


def play(context: FleetContext, flags: Flags, file: str) -> None:
    """Play one playbook file."""
    play_file(context, flags, Path(file), "play")

"""States of apt, kernels and boot files that others left on a rig: a table, and what lays one.

A state is laid over a running rig of any flavour, for example:

    states.lay(rig, "cuda-keyring")
    states.lay(rig, "half-configured", "nvidia-driver=570.133.20-1")

Unlike a fault, a state is data on the rig's disk: only the product, or a new disk, takes it away.
"""

from __future__ import annotations

import functools
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import yaml

from lab.errors import LabError

TABLE = Path(__file__).with_name("states.yml")
FUNCTIONS = Path(__file__).with_name("states.sh")


class RunningRig(Protocol):
    """What laying a state needs of a rig."""

    @property
    def vendor_url(self) -> str:
        """From where the rig gets the vendor's packages."""

    def run(self, command: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a shell command in the rig."""


@dataclass(frozen=True)
class State:
    """A row of states.yml, which explains its columns."""

    name: str
    text: str
    script: str
    argument: str = ""
    default: str = ""


@functools.cache
def load_table() -> dict[str, State]:
    """Return all states by name."""
    rows = yaml.safe_load(TABLE.read_text())
    return {name: State(name, **row) for name, row in rows.items()}


def lay(rig: RunningRig, name: str, argument: str = "") -> None:
    """Bring a running rig into a state. Raises LabError: an unknown name, a command that fails."""
    if name not in load_table():
        raise LabError(f"No state is called {name}.", f"There is: {', '.join(load_table())}.")
    done = rig.run(write_script(name, f"{rig.vendor_url}/cuda/", argument), check=False)
    if done.returncode != 0:
        raise LabError(f"The state {name} failed: {done.stderr.strip()}\n{done.stdout[-1000:]}")


def write_script(name: str, vendor: str, argument: str = "") -> str:
    """Return the shell script of a state. vendor: the address of the vendor's repository."""
    state = load_table()[name]
    if argument and not state.argument:
        raise LabError(f"The state {name} has no argument.", f"Leave out {argument!r}.")
    values = {"VENDOR": vendor, "ARGUMENT": argument or state.default}
    settings = "".join(f"{key}={shlex.quote(value)}\n" for key, value in values.items())
    return "".join([settings, FUNCTIONS.read_text(), state.script])

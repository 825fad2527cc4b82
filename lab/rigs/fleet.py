"""The operator's rigs: what the tasks of `fab lab.…` do."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from lab.build import flavour as flavours
from lab.build import image
from lab.errors import LabError
from lab.report import console, say, step
from lab.rigs import inventory, machine
from lab.rigs.machine import Rig
from lab.simulate import faults


def up(count: int, *, flavour: str = "", fresh: bool = False) -> None:
    """Bring up rigs and tell the product where they are.

    flavour: the mining system of a new rig. A rig that exists must have the same.
    """
    if not 1 <= count <= 99:
        raise LabError(f"{count} is not a number of rigs.", "The lab has room for 1 to 99.")
    start = time.monotonic()
    built = image.ensure(flavour or flavours.DEFAULT)
    rigs = [Rig(f"rig{number}" if number > 1 else "rig") for number in range(1, count + 1)]
    for rig in rigs:
        if flavour and not fresh and rig.settings() and rig.flavour.name != flavour:
            raise LabError(
                f"{rig.name} was bought with {rig.flavour.name}, not {flavour}.",
                f"`fab lab.up --flavour {flavour} --fresh` replaces it.",
            )
    for rig in rigs:
        rig.up(fresh=fresh, image=built)
    write_inventory()
    names = ", ".join(rig.name for rig in rigs)
    lasted = time.monotonic() - start
    say(f"{names}: up after {lasted:.1f} s. The inventory is inventory/{inventory.FILE.name}.")


def write_inventory() -> None:
    """Write the inventory of the operator's rigs, and their host keys."""
    rigs = [rig for rig in machine.list_rigs() if rig.name.startswith("rig")]
    inventory.write(rigs, write_known_hosts(rigs))


def write_known_hosts(rigs: list[Rig], name: str = "known_hosts") -> Path:
    """Write the known_hosts file of these rigs."""
    file = machine.state_folder() / name
    file.write_text("".join(f"{line}\n" for rig in rigs for line in rig.host_keys()))
    return file


def down(*, images: bool = False) -> None:
    """Stop the operator's rigs and delete them."""
    rigs = [rig for rig in machine.list_rigs() if rig.name.startswith("rig")]
    for rig in rigs:
        with step(f"Stopping {rig.name}"):
            rig.discard()
    inventory.FILE.unlink(missing_ok=True)
    machine.clear()
    if images:
        image.remove()
    if not rigs:
        say("No rig was up.")


def status() -> None:
    """Print a row for each rig."""
    rigs = machine.list_rigs()
    if not rigs:
        say("No rig exists. `fab lab.up` makes one.")
        return
    table = Table(box=None, pad_edge=False)
    for title in ("rig", "flavour", "address", "state", "boots", "for", "BIOS"):
        table.add_column(title, no_wrap=True)
    table.add_column("faults")
    for rig in rigs:
        state = rig.state()
        lasted = _duration(time.time() - state["since"]) if "since" in state else ""
        wrong = ", ".join(faults.describe(rig)) or "none"
        boots = str(state.get("boots", 0))
        table.add_row(
            rig.name,
            rig.flavour.name,
            rig.address,
            state.get("state", "off"),
            boots,
            lasted,
            rig.profile(),
            wrong,
        )
    console.print(table)


def shell(name: str) -> None:
    """Open a root shell in the rig."""
    subprocess.run([*machine.find(name).enter(), "/bin/bash", "-l"], check=False)


def bios(name: str, profile: str) -> None:
    """Print the BIOS profiles, or select one for the next boot."""
    rig = machine.find(name)
    if profile:
        rig.hardware.profile(profile)
        rig.set(profile=profile)
        say(f"{name} uses {profile} from its next boot.")
        return
    for profile_name in rig.hardware.profiles:
        cards = rig.hardware.gpus(profile_name)
        links = ", ".join(f"x{card.link.width} gen {card.link.gen}" for card in cards)
        say(f"{'*' if profile_name == rig.profile() else ' '} {profile_name:<10} {links}")


def list_flavours() -> None:
    """Print the table of flavours."""
    table = Table(box=None, pad_edge=False)
    for title in ("flavour", "login", "description"):
        table.add_column(title)
    for row in flavours.load_table().values():
        table.add_row(row.name, f"{row.user} / {row.password}", escape(row.text))
    console.print(table)


def list_faults() -> None:
    """Print the table of faults."""
    table = Table(box=None, pad_edge=False)
    for title in ("fault", "argument", "effect"):
        table.add_column(title)
    for row in faults.TABLE.values():
        table.add_row(row.name, escape(row.argument), row.text)
    console.print(table)


def fault(name: str, what: str, switch: str, argument: str) -> None:
    """Switch a fault of a rig."""
    if switch not in {"on", "off"}:
        raise LabError(f"A fault cannot be switched {switch!r}.", "Write on or off.")
    rig = machine.find(name)
    faults.switch(rig, what, on=switch == "on", argument=argument)
    say(f"{name}: {' '.join(filter(None, (what, argument)))} is {switch}.")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min" if minutes else f"{rest} s"

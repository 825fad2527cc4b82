"""`make demo`: provision a lab rig twice, and print what it was and what it is now."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from fabric import Config
from invoke.exceptions import Exit
from rich.table import Table

from lab.errors import LabError
from lab.report import console, say
from lab.rigs import fleet
from provision.boundary.facts import GatheredFacts
from provision.discovery import summary
from provision.discovery.gather import gather_facts
from provision.errors import DeeprigError, describe
from provision.inventory import hosts

ROOT = Path(__file__).parents[1]
RIG = "rig"


def facts() -> GatheredFacts:
    """All facts of the demo's rig."""
    (host,) = hosts.read_inventory(ROOT / "inventory").select([RIG])
    return gather_facts(host, Config())


def provision() -> float:
    """Run `fab provision -H rig` as the operator would; seconds."""
    began = time.monotonic()
    fab = [sys.executable, "-m", "fabric", "provision", "-H", RIG]
    done = subprocess.run(fab, cwd=ROOT, check=False, **_operator())
    if done.returncode != 0:
        raise LabError(
            f"`fab provision -H {RIG}` ended with {done.returncode}.",
            "The lines above and the log name the reason; `fab lab.shell` opens a shell.",
        )
    return time.monotonic() - began


def _operator() -> dict[str, Any]:
    """Return the user for subprocess: under sudo its caller, because only the lab needs root."""
    if "SUDO_UID" not in os.environ:
        return {}
    user = pwd.getpwuid(int(os.environ["SUDO_UID"]))
    home = {"HOME": user.pw_dir, "USER": user.pw_name, "LOGNAME": user.pw_name}
    return {"user": user.pw_uid, "group": user.pw_gid, "env": {**os.environ, **home}}


def side_by_side(before: GatheredFacts, after: GatheredFacts) -> Table:
    """Return both summaries in one table, with differences in bold."""
    models = summary.gpu_models()
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("")
    table.add_column("was", ratio=1)
    table.add_column("is now", ratio=1)
    earlier, later = (dict(summary.summarize_facts(facts, models)) for facts in (before, after))
    for label in {**earlier, **later}:
        was, now = earlier.get(label, "none"), later.get(label, "none")
        table.add_row(label, was, now, style="" if was == now else "bold")
    return table


def main() -> int:
    """Run the demo; return 0 if the rig became a deep learning host."""
    began = time.monotonic()
    try:
        say("1. A lab rig, as it was on the day it was bought")
        fleet.up(1, fresh=True)
        before = facts()
        say(f"\n2. fab provision -H {RIG}")
        first = provision()
        say(f"\n3. fab provision -H {RIG}, again: nothing is left to change")
        second = provision()
        after = facts()
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except DeeprigError as error:
        print(f"error: {describe(error, RIG)}", file=sys.stderr)
        return error.status
    except (KeyboardInterrupt, Exit):
        print("\nInterrupted; `make clean` stops the lab.", file=sys.stderr)
        return 130
    say("\n4. What the rig was, and what it is now\n")
    console.print(side_by_side(before, after))
    fab = f"{'sudo ' if 'SUDO_UID' in os.environ else ''}.venv/bin/fab"
    say(
        f"\nFirst run {first:.0f} s, second {second:.1f} s; all {time.monotonic() - began:.0f} s. "
        "The rig is still up:\n"
        f"  {fab} lab.shell    look around in it\n"
        f"  {fab} lab.down     stop it"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

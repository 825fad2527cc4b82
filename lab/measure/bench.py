"""`make bench`: a no-op `fab provision` against Fabric's own `fab -H rig -- true`, in one run.

Whole processes, turn by turn, medians; what counts is their ratio (the promise: at most 4.5). A
third of a no-op run is the search for what mines, on the rig: at its beginning and at its end.
"""

from __future__ import annotations

import compileall
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lab.errors import LabError
from lab.report import say
from lab.rigs import fleet
from lab.rigs.machine import find

ROOT = Path(__file__).parents[2]
RIG = "rig"
ROUNDS = 7
PROMISE = 4.5
FAB = [sys.executable, "-m", "fabric"]


def seconds(command: list[str], cwd: str | Path) -> tuple[float, str]:
    """Return how long a command takes, and what it prints. Raises LabError when it fails."""
    began = time.monotonic()
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LabError(f"{' '.join(command)} failed: {done.stderr or done.stdout}")
    return time.monotonic() - began, done.stdout


def main() -> int:
    """Measure and print; return 0 if the ratio is at most PROMISE."""
    try:
        fleet.up(1)
        # Python does this by default, unless its environment forbids it.
        for room in ("provision", "agent", "lab"):
            compileall.compile_dir(ROOT / room, quiet=1)
        ours = [*FAB, "provision", "-H", RIG, "--json"]
        say("Provisioning until nothing changes (not measured)")
        seconds(ours, ROOT)
        with tempfile.TemporaryDirectory() as elsewhere:
            # Stock Fabric: no project file, no inventory; the password by its own configuration.
            settings = Path(elsewhere) / "fabric.yaml"
            rig = find(RIG)
            keywords = {
                "password": rig.flavour.password,
                "look_for_keys": False,
                "allow_agent": False,
            }
            settings.write_text(json.dumps({"connect_kwargs": keywords}))
            target = f"{rig.flavour.user}@{rig.address}"
            bare = [*FAB, "-f", str(settings), "-H", target, "--", "true"]
            times: dict[str, list[float]] = {"bare": [], "ours": []}
            for _ in range(ROUNDS):
                times["bare"].append(seconds(bare, elsewhere)[0])
                took, printed = seconds(ours, ROOT)
                times["ours"].append(took)
                counts = json.loads(printed)["hosts"][RIG]
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    ratio = medians["ours"] / medians["bare"]
    done = f"{counts['ok']} ok, changed={counts['changed']}, {counts['frames']} frames"
    say(f"fab -H {RIG} -- true    {medians['bare']:.3f} s   (medians of {ROUNDS})")
    say(f"fab provision -H {RIG}  {medians['ours']:.3f} s   ({done})")
    say(f"ratio                 {ratio:.2f}      (at most {PROMISE})")
    return 0 if ratio <= PROMISE and counts["changed"] == 0 else 1


if __name__ == "__main__":
    sys.exit(main())

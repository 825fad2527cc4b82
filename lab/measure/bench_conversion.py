"""`make bench`, third part: a first conversion against its line, and three rigs against one.

A vendor's repository and PyTorch's wheels, to scale, are behind a line of limited rate
(lab/measure/line.py), which rigs and operator share. Whole runs of `fab provision` on rigs as they
were bought; the promises are ratios within one run. The distribution's packages, uv, and the Python
packages of agent and suite come from this machine's own sources, over another line: they are small.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from lab.build import host, image
from lab.errors import LabError
from lab.measure import conversion, payload
from lab.measure.conversion import Conversion
from lab.measure.line import LimitedLine, line
from lab.report import say, step
from lab.rigs import inventory
from lab.rigs.fleet import write_known_hosts
from lab.rigs.lease import lease_network
from lab.rigs.machine import Rig

ROOT = Path(__file__).parents[2]
#: Of the real sizes, and the rate. The other steps are not to scale: they take as long as on a lab
#: rig.
SCALE, MEGABITS = 1 / 6, 24.0
REBOOT = "Reboot, and go on when the rig is back"
LONGEST_SECONDS = 1800


def main() -> int:
    """Measure and print; return 0 if both ratios are as promised."""
    try:
        with lease_network(), tempfile.TemporaryDirectory() as folder:
            served = _ensure_payload()
            with line(served / "served", MEGABITS, Path(folder) / "journal") as limited:
                alone = _convert(1, limited, served, Path(folder))
                _report("one rig", alone, limited)
                together = _convert(3, limited, served, Path(folder), "--cache")
                _report("three rigs", together, limited)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    ratio, share = alone.ratio(limited.bytes_per_second), together.seconds / alone.seconds
    say(f"one rig / (bytes / rate + reboot)  {ratio:.2f}   (at most {conversion.MOST_OF_LINE})")
    say(f"three rigs / one rig               {share:.2f}   (at most {conversion.MOST_OF_ONE})")
    return 0 if ratio <= conversion.MOST_OF_LINE and share <= conversion.MOST_OF_ONE else 1


def _ensure_payload() -> Path:
    """Return the folder of what is served; build it unless the cache has it."""
    table = f"{payload.PACKAGES}{payload.WHEELS}{SCALE}"
    sources = [*image.files(ROOT / "lab/build/vendor"), Path(payload.__file__)]
    name = image.fingerprint(table, *(image.describe_file(file, ROOT) for file in sources))
    folder = image.cache() / f"payload-{name}"
    if not folder.is_dir():
        draft = folder.with_name(f"{folder.name}.new")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        with step("Writing packages and wheels to scale", usual="half a minute"):
            payload.build_payload(draft, SCALE, image.ensure().layers[-1], host.read_codename())
        draft.rename(folder)
    return folder


def _convert(
    count: int, limited: LimitedLine, served: Path, folder: Path, *words: str
) -> Conversion:
    """Convert new rigs in one run. Raises LabError where it fails."""
    with _new_rigs(count) as rigs:
        hosts = _write_inventory(rigs, limited, served, folder)
        earlier = len(limited.journal.read())
        command = [sys.executable, "-m", "fabric", "provision", "-H", "rigs", "--json"]
        began = time.time()
        done = subprocess.run(
            [*command, "--inventory", str(hosts), *words],
            cwd=ROOT,
            env={**os.environ, "XDG_CACHE_HOME": str(folder / f"cache-{count}")},
            capture_output=True,
            text=True,
            check=False,
            timeout=LONGEST_SECONDS,
        )
        ended = time.time()
    if done.returncode != 0:
        raise LabError(f"{' '.join(command)} failed: {done.stderr or done.stdout[-3000:]}")
    reboots = [task for task in json.loads(done.stdout)["tasks"] if task["task"] == REBOOT]
    seconds = max((task["seconds"] for task in reboots), default=0.0)
    return Conversion(began, ended, seconds, limited.journal.read()[earlier:])


@contextmanager
def _new_rigs(count: int) -> Iterator[list[Rig]]:
    """Boot rigs as they were bought; they are gone after the block."""
    built = image.ensure()
    rigs = [Rig(f"test{number if number > 1 else ''}") for number in range(1, count + 1)]
    try:
        for rig in rigs:
            rig.up(fresh=True, image=built)
        for rig in rigs:
            rig.run("systemctl is-system-running --wait", check=False)
        yield rigs
    finally:
        for rig in rigs:
            rig.discard()


def _write_inventory(rigs: list[Rig], limited: LimitedLine, served: Path, folder: Path) -> Path:
    """Write an inventory of rigs whose packages and wheels come over the line."""
    file = folder / f"inventory-{len(rigs)}/lab.yml"
    file.parent.mkdir()
    (file.parent / "group_vars").symlink_to(inventory.FILE.parent / "group_vars")
    fingerprint = (served / "repository/fingerprint").read_text().strip()
    inventory.write(rigs, write_known_hosts(rigs), file)
    document: dict[str, Any] = yaml.safe_load(file.read_text())
    for variables in document["rigs"]["hosts"].values():
        variables |= {
            "nvidia_repository_url": f"{limited.url}/cuda/",
            "nvidia_repository_key_url": f"{limited.url}/cuda/key.asc",
            "nvidia_repository_key_fingerprint": fingerprint,
            "torch_requirement": f"torch=={payload.TORCH_VERSION}",
            "torch_index_url": f"{limited.url}/simple/",
        }
    file.write_text(yaml.safe_dump(document))
    return file


def _report(name: str, run: Conversion, limited: LimitedLine) -> None:
    """Print the figures of a conversion."""
    needed, rate = run.needed_bytes / 1e6, limited.megabits
    ideal = run.ideal_seconds(limited.bytes_per_second)
    sent = run.sent_bytes / 1e6
    say(f"{name}: {needed:.0f} MB at {rate:g} Mbit/s and a reboot of {run.reboot_seconds:.1f} s")
    say(f"  take {ideal:.1f} s, the conversion {run.seconds:.1f} s; {sent:.0f} MB were sent,")
    say(f"  and the line was idle for {run.idle_seconds:.1f} s")


if __name__ == "__main__":
    sys.exit(main())

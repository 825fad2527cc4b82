"""The operator's side: the real command in a process of its own, and what it said."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lab.rigs.machine import Rig
from lab.simulate import faults

ROOT = Path(__file__).parents[2]
STEPS = ROOT / "playbooks"


@dataclass(frozen=True)
class Said:
    """How a command ended, and all it wrote."""

    status: int
    stdout: str
    stderr: str
    seconds: float

    @property
    def text(self) -> str:
        """Both streams."""
        return self.stdout + self.stderr

    def names(self, *parts: str) -> None:
        """Assert that each of these words was written, on however many lines."""
        flat = " ".join(self.text.split())
        missing = [part for part in parts if part not in self.text and part not in flat]
        assert not missing, f"{missing} not in:\n{self.text}"


def command(inventory: Path, host: str, *words: str | Path) -> list[str]:
    """What the operator types."""
    verb, *rest = map(str, words)
    return [sys.executable, "-m", "fabric", verb, "-H", host, "--inventory", str(inventory), *rest]


def start(inventory: Path, host: str, *words: str | Path) -> subprocess.Popen[str]:
    """Start the command; `finish` waits for it."""
    return subprocess.Popen(
        command(inventory, host, *words),
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str], seconds: float = 120) -> Said:
    """Wait for the end of a command that was started, and never see a traceback."""
    began = time.monotonic()
    try:
        stdout, stderr = process.communicate(timeout=seconds)
    finally:
        process.kill()
    said = Said(process.returncode, stdout, stderr, time.monotonic() - began)
    assert "Traceback" not in said.text, said.text
    return said


def fab(inventory: Path, host: str, *words: str | Path, seconds: float = 120) -> Said:
    """Run the command to its end."""
    return finish(start(inventory, host, *words), seconds)


def variant(inventory: Path, host: str, name: str = "variant", **variables: Any) -> Path:
    """Write the inventory again beside itself, with a host's variables changed (None: left out)."""
    document = yaml.safe_load(inventory.read_text())
    own = document["rigs"]["hosts"][host]
    own.update(variables)
    for key in [key for key, value in own.items() if value is None]:
        del own[key]
    file = inventory.with_name(f"{name}.yml")
    file.write_text(yaml.safe_dump(document))
    return file


def reboot(rig: Rig) -> None:
    """Reboot from inside, and wait until the boot is done."""
    boots = rig.state()["boots"]
    rig.run("systemctl reboot", check=False)
    rig.wait(boots=boots + 1)
    rig.run("systemctl is-system-running --wait", check=False)


def playbook(folder: Path, *tasks: dict[str, Any], **keywords: Any) -> Path:
    """Write a playbook of these tasks, as root."""
    file = folder / "play.yml"
    play = {"name": "Test", "hosts": "all", "become": True, "tasks": list(tasks), **keywords}
    file.write_text(yaml.safe_dump([play], sort_keys=False))
    return file


def until(condition: Any, seconds: float = 60) -> None:
    """Wait until it is so."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that in time"
        time.sleep(0.01)


@contextmanager
def switching(rig: Rig) -> Iterator[Callable[..., None]]:
    """Give what switches a rig's faults on, by name and argument; after it they are off again."""
    on: list[tuple[str, str]] = []

    def switch(name: str, argument: str = "") -> None:
        faults.switch(rig, name, on=True, argument=argument)
        on.append((name, argument))

    try:
        yield switch
    finally:
        for name, argument in reversed(on):
            target = argument.split(" ")[0] if faults.TABLE[name].gpu else ""
            if target in faults.read(rig).get(name, {}):  # a test may have switched it off itself
                faults.switch(rig, name, on=False, argument=argument)

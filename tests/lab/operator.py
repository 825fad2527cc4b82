"""The operator's side: runs the real command in a process, and checks its output."""

from __future__ import annotations

import os
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
class FabResult:
    """Exit status and output of a command."""

    status: int
    stdout: str
    stderr: str
    seconds: float

    @property
    def text(self) -> str:
        """Both streams."""
        return self.stdout + self.stderr

    def assert_shows(self, *parts: str) -> None:
        """Assert that the output has each of these texts, across line breaks."""
        flat = " ".join(self.text.split())
        missing = [part for part in parts if part not in self.text and part not in flat]
        assert not missing, f"{missing} not in:\n{self.text}"


def command(inventory: Path, host: str, *words: str | Path) -> list[str]:
    """Return the command line of the operator."""
    verb, *rest = map(str, words)
    return [sys.executable, "-m", "fabric", verb, "-H", host, "--inventory", str(inventory), *rest]


def start(
    inventory: Path, host: str, *words: str | Path, **variables: str
) -> subprocess.Popen[str]:
    """Start the command, with these variables in its environment; `finish` waits for it."""
    return subprocess.Popen(
        command(inventory, host, *words),
        cwd=ROOT,
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str], seconds: float = 120) -> FabResult:
    """Wait for the end of a command; assert that it printed no traceback."""
    began = time.monotonic()
    try:
        stdout, stderr = process.communicate(timeout=seconds)
    finally:
        process.kill()
    result = FabResult(process.returncode, stdout, stderr, time.monotonic() - began)
    assert "Traceback" not in result.text, result.text
    return result


def fab(inventory: Path, host: str, *words: str | Path, seconds: float = 120) -> FabResult:
    """Run the command to its end."""
    return finish(start(inventory, host, *words), seconds)


def write_variant(inventory: Path, host: str, name: str = "variant", **variables: Any) -> Path:
    """Write a copy of the inventory with changed variables of a host (None: removed)."""
    document = yaml.safe_load(inventory.read_text())
    host_variables = document["rigs"]["hosts"][host]
    host_variables.update(variables)
    for key in [key for key, value in host_variables.items() if value is None]:
        del host_variables[key]
    file = inventory.with_name(f"{name}.yml")
    file.write_text(yaml.safe_dump(document))
    return file


def reboot(rig: Rig) -> None:
    """Reboot from inside, and wait until the boot is done."""
    boots = rig.state()["boots"]
    rig.run("systemctl reboot", check=False)
    rig.wait(boots=boots + 1)
    rig.run("systemctl is-system-running --wait", check=False)


def write_playbook(folder: Path, *tasks: dict[str, Any], **keywords: Any) -> Path:
    """Write a playbook that runs these tasks as root."""
    file = folder / "play.yml"
    play = {"name": "Test", "hosts": "all", "become": True, "tasks": list(tasks), **keywords}
    file.write_text(yaml.safe_dump([play], sort_keys=False))
    return file


def wait_until(condition: Any, seconds: float = 60) -> None:
    """Wait until a condition is true; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true in time"
        time.sleep(0.01)


@contextmanager
def switching(rig: Rig) -> Iterator[Callable[..., None]]:
    """Yield a function that switches faults on; they are off after the block."""
    on: list[tuple[str, str]] = []

    def switch(name: str, argument: str = "") -> None:
        faults.switch(rig, name, on=True, argument=argument)
        on.append((name, argument))

    try:
        yield switch
    finally:
        for name, argument in reversed(on):
            target = argument.split(" ")[0] if faults.TABLE[name].gpu else ""
            if target in faults.read(rig).get(name, {}):  # unless the test has switched it off
                faults.switch(rig, name, on=False, argument=argument)


def assert_apt_works(rig: Rig) -> None:
    """Fetch lists and try an installation, as any administrator would next."""
    rig.run("apt-get update && apt-get --simulate install less")
    assert rig.run("dpkg --audit").stdout == ""

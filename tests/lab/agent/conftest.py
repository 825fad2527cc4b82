"""A provisioned rig whose agent a real Prometheus scrapes, with all of this project's rules."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.build.image import RigImage
from lab.rigs.machine import Rig
from tests.lab.operator import fab, switching, write_variant
from tests.monitoring.names import RULE_FILES
from tests.monitoring.prometheus import Prometheus, prometheus

NAME = "test9"
INTERVAL_SECONDS = 1.0
STEPS = "demine,base,driver,reboot,power,agent"  # what an agent needs to have around it
UNIT = "deeprig-agent.service"


@dataclass(frozen=True)
class MonitoredRig:
    """The rig, its agent and the Prometheus that scrapes it."""

    rig: Rig
    server: Prometheus
    inventory: Path

    @property
    def url(self) -> str:
        return f"http://{self.rig.address}:10390"

    def get(self, path: str) -> Any:
        """The agent's own JSON."""
        with urllib.request.urlopen(self.url + path, timeout=10) as answer:
            return json.load(answer)

    def values(self, expr: str) -> list[float]:
        """What Prometheus has for an expression now."""
        return [float(series["value"][1]) for series in self.server.query(expr)]

    def until(self, expr: str, seconds: float = 30) -> list[dict[str, Any]]:
        """Wait until the expression has a series; return them."""
        deadline = time.monotonic() + seconds
        while not (series := self.server.query(expr)):
            if time.monotonic() > deadline:
                pytest.fail(f"it did not come to {expr}; {self.state(expr)}")
            time.sleep(0.1)
        return series

    def verdict(self, check: str, status: str, subject: str = "") -> dict[str, Any]:
        """Wait until a check has this verdict in Prometheus; return it with its texts."""
        about = f',subject="{subject}"' if subject else ""
        self.until(f'deeprig_verdict{{check="{check}",status="{status}"{about}}} == 1')
        for verdict in self.get("/api/v1/rig")["verdicts"]:
            if (verdict["check"], verdict["status"]) == (check, status) and (
                not subject or verdict["subject"] == subject
            ):
                match: dict[str, Any] = verdict
                return match
        pytest.fail(f"{check} is not {status} in the API")

    def alert(self, name: str, **labels: str) -> None:
        """Wait until an alert fires."""
        wanted = "".join(f',{key}="{value}"' for key, value in labels.items())
        self.until(f'ALERTS{{alertname="{name}",alertstate="firing"{wanted}}}')

    def is_quiet(self, name: str) -> bool:
        """Whether no alert of that name is pending or firing."""
        return not self.server.query(f'ALERTS{{alertname="{name}"}}')

    def state(self, expr: str) -> str:
        """Return what to print if an expression has no series."""
        bare = expr.split("==")[0].strip()
        try:
            values = {str(s["metric"]): s["value"][1] for s in self.server.query(bare)}
            return f"there is {values or 'nothing'}; up: {self.values('up')}"
        except OSError as error:
            return str(error)


def write_fast_rules(folder: Path) -> list[Path]:
    """Our rules looking back a few seconds, with alerts that fire at once.

    How long they wait is what promtool's own tests are for.
    """
    written = []
    for path in RULE_FILES:
        document = yaml.safe_load(path.read_text())
        for group in document["groups"]:
            for rule in group["rules"]:
                rule.pop("for", None)
                rule.pop("keep_firing_for", None)
                rule["expr"] = re.sub(r"\[\d+m\]", "[15s]", rule["expr"])
        file = folder / path.name
        file.write_text(yaml.safe_dump(document))
        written.append(file)
    return written


@pytest.fixture(scope="package")
def agent_inventory(
    make_rig: Callable[..., Rig], provisioned_image: RigImage, write_inventory: Callable[..., Path]
) -> Iterator[tuple[Rig, Path]]:
    """A rig with driver and agent, and its inventory; it samples every second."""
    rig = make_rig(NAME, built=provisioned_image)
    inventory = write_variant(
        write_inventory(rig), NAME, agent_sample_interval=f"{INTERVAL_SECONDS:g}s"
    )
    result = fab(inventory, NAME, "provision", "--tags", STEPS, seconds=240)
    assert result.status == 0, result.text
    yield rig, inventory
    rig.discard()


@pytest.fixture(scope="package")
def monitored_rig(
    agent_inventory: tuple[Rig, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MonitoredRig]:
    """The rig's agent with a Prometheus over it, for all tests of this folder."""
    rig, inventory = agent_inventory
    folder = tmp_path_factory.mktemp("prometheus")
    rules = write_fast_rules(folder)
    with prometheus(folder, {"deeprig": [f"{rig.address}:10390"]}, rules) as server:
        yield MonitoredRig(rig, server, inventory)


@pytest.fixture
def fault(monitored_rig: MonitoredRig) -> Iterator[Callable[..., None]]:
    """Switch faults on; they are off again after the test."""
    with switching(monitored_rig.rig) as switch:
        yield switch

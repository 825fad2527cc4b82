"""A Prometheus for a few seconds, on 127.0.0.1."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lab.build.host import find_free_port
from tests.monitoring.names import RULE_FILES
from tests.monitoring.tools import tool

INTERVAL = "500ms"  # of scrapes and rules: a test waits for several of them
SCRAPES = 5
START_SECONDS = 60.0


@dataclass(frozen=True)
class Prometheus:
    """A server that runs; url is its root."""

    url: str

    def api(self, path: str, **parameters: str) -> Any:
        """`data` of an answer of /api/v1/. Raises urllib.error.HTTPError for a bad query."""
        query = f"?{urllib.parse.urlencode(parameters)}" if parameters else ""
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}{query}", timeout=10) as answer:
            return json.load(answer)["data"]

    def query(self, expr: str) -> list[dict[str, Any]]:
        """The series of an instant query."""
        result: list[dict[str, Any]] = self.api("query", query=expr)["result"]
        return result

    def rules(self) -> list[dict[str, Any]]:
        """All rules, as they were last evaluated."""
        return [rule for group in self.api("rules")["groups"] for rule in group["rules"]]


def configuration(jobs: Mapping[str, list[str]], rule_files: Sequence[Path]) -> str:
    """prometheus.yml. jobs: the targets of each job."""
    return yaml.safe_dump(
        {
            "global": {"scrape_interval": INTERVAL, "evaluation_interval": INTERVAL},
            "rule_files": [str(path) for path in rule_files],
            "scrape_configs": [
                {
                    "job_name": job,
                    "scrape_timeout": INTERVAL,
                    "static_configs": [{"targets": targets}],
                }
                for job, targets in jobs.items()
            ],
        }
    )


@contextmanager
def prometheus(
    folder: Path, jobs: Mapping[str, list[str]], rule_files: Sequence[Path] = RULE_FILES
) -> Iterator[Prometheus]:
    """Run Prometheus over these targets, with these rules, until the block ends.

    When the block begins, every target was scraped SCRAPES times and every rule evaluated. Raises
    RuntimeError with Prometheus' own words when it does not come up in START_SECONDS.
    """
    config, log = folder / "prometheus.yml", folder / "prometheus.log"
    config.write_text(configuration(jobs, rule_files))
    server = Prometheus(f"http://127.0.0.1:{find_free_port()}")
    with log.open("w") as stream:
        process = subprocess.Popen(
            [
                tool("prometheus"),
                f"--config.file={config}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={server.url.removeprefix('http://')}",
            ],
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
        try:
            wanted = sum(map(len, jobs.values()))
            deadline = time.monotonic() + START_SECONDS
            while not ready(server, wanted):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"Prometheus is not ready:\n{log.read_text()}")
                time.sleep(0.2)
            yield server
        finally:
            process.terminate()
            process.wait(timeout=20)


def ready(server: Prometheus, targets: int) -> bool:
    """Whether every target was scraped often enough, and every rule evaluated."""
    try:
        scraped = server.query(f"count_over_time(up[1m]) >= {SCRAPES}")
        return len(scraped) == targets and all(
            rule["health"] != "unknown" for rule in server.rules()
        )
    except OSError:
        return False

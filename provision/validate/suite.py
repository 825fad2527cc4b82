"""One rig's run of the suite: a separate pytest process that reports events while it runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fabric import Config

from provision.boundary.decode import BoundaryError, parse_json
from provision.boundary.documents import check_bench
from provision.errors import DeeprigError, LostError, UnreachableError
from provision.output.files import make_private
from provision.paths import ROOT
from provision.validate.documents import Event, UnreachableEvent, ValidationReport

SUITE = "tests/rig"
ENDING = 20.0  # seconds in which an interrupted run ends what it started on the rig


@dataclass(frozen=True)
class SuiteOptions:
    """What the operator asked for, the same for every rig."""

    quick: bool = False
    inventory: str = ""
    extra: tuple[str, ...] = ()
    select: str = ""


class SuiteRun:
    """Runs pytest over tests/rig against one rig, in a separate process."""

    def __init__(self, host: str, wanted: SuiteOptions, config: Config, folder: Path) -> None:
        self.host = host
        self.folder = folder
        self._wanted = wanted
        self._config = config
        self._process: subprocess.Popen[bytes] | None = None
        #: Where the rig was lost in the middle; the report is of the checks before.
        self.lost: LostError | None = None

    @property
    def log(self) -> Path:
        """What pytest itself printed."""
        return self.folder / "pytest.log"

    def run(self, on_event: Callable[[Event], None]) -> ValidationReport:
        """Run it; return the report (docs/validation.md). Raises DeeprigError."""
        make_private(self.folder)
        reader, writer = os.pipe()
        report: ValidationReport | None = None
        unreachable: UnreachableEvent | None = None
        with (
            tempfile.NamedTemporaryFile("w", suffix=".json") as connection,  # mode 0600
            os.fdopen(os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as log,
        ):
            json.dump(self._connection(), connection)
            connection.flush()
            self._process = subprocess.Popen(
                self._command(writer, connection.name),
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=(writer,),
                umask=0o077,  # what it writes names users, keys and addresses of a rig
                start_new_session=True,  # `stop` forwards Ctrl-C, once
                env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
            )
            os.close(writer)
            with os.fdopen(reader, encoding="utf-8") as events:
                for line in events:
                    event = self._parse(line)
                    if event["event"] == "report":
                        report = event["document"]
                    elif event["event"] == "unreachable":
                        unreachable = event
                    elif event["event"] == "lost":
                        self.lost = LostError(event["message"], advice=event["advice"])
                    on_event(event)
            self._process.wait()
        if unreachable is not None:
            raise UnreachableError(unreachable["message"], advice=unreachable["advice"])
        if report is None:
            raise self._failure()
        if report.get("bench") is not None:
            check_bench(report["bench"])
        return report

    def _parse(self, line: str) -> Event:
        """Return an event. Its text comes from the rig, so it is checked. Raises BoundaryError."""
        try:
            event: Event = parse_json(line)
        except BoundaryError:
            self.stop()
            raise
        return event

    def stop(self) -> None:
        """From another thread: pytest ends, and with it what it runs on the rig."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGINT)
        try:
            process.wait(ENDING)
        except subprocess.TimeoutExpired:
            process.kill()

    def _connection(self) -> dict[str, Any]:
        """Return how to connect, beyond the inventory: what Fabric's own flags and prompts gave."""
        return {
            "sudo": {"password": self._config.sudo.password},
            "connect_kwargs": dict(self._config.connect_kwargs),
        }

    def _command(self, events: int, connection: str) -> list[str]:
        wanted = self._wanted
        return [
            *(sys.executable, "-m", "pytest", SUITE, f"--rootdir={ROOT}", "-p", "no:cacheprovider"),
            *("--hosts", self.host, "--events", f"/dev/fd/{events}"),
            *("--connection-file", connection, "--report", str(self.folder)),
            *("--junit-xml", str(self.folder / "junit.xml"), "-o", f"junit_suite_name={self.host}"),
            *(("--quick",) if wanted.quick else ()),
            *(("--inventory", wanted.inventory) if wanted.inventory else ()),
            *(word for text in wanted.extra for word in ("--extra-vars", text)),
            *(("-k", wanted.select) if wanted.select else ()),
        ]

    def _failure(self) -> DeeprigError:
        assert self._process is not None
        lines = self.log.read_text(errors="replace").strip().splitlines()
        last_line = lines[-1] if lines else "it printed nothing"
        if self._process.returncode < 0:
            return LostError(f"the suite was ended by signal {-self._process.returncode}")
        return DeeprigError(f"the suite did not finish: {last_line}", advice=f"See {self.log}.")

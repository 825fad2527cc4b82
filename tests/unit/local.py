"""A rig without SSH: the worker runs as a child of the test, everything else is the real engine."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from provision.engine import playbook
from provision.engine.host_run import HostRun
from provision.engine.reports.run_log import RunLog
from provision.engine.reports.run_report import RunReport
from provision.engine.results import Recap
from provision.engine.run_options import RunOptions, extra_variables
from provision.engine.variables import HostVariables
from provision.inventory import hosts
from provision.inventory.hosts import Host
from provision.output.redaction import Redactor
from provision.ssh.rig_sessions import Sessions
from provision.ssh.transport import Transport


class LocalChannel:
    """A channel over a child's pipes."""

    def settimeout(self, timeout: float) -> None:
        """Do nothing: a child needs no timeout."""

    def exec_command(self, command: str) -> None:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            ["sh", "-c", command], stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0
        )

    def sendall(self, data: bytes) -> None:
        assert self.process.stdin is not None
        view = memoryview(data)
        while view:
            view = view[self.process.stdin.write(view) :]

    def recv(self, nbytes: int) -> bytes:
        assert self.process.stdout is not None
        return self.process.stdout.read(nbytes) or b""

    def recv_stderr(self, nbytes: int) -> bytes:
        assert self.process.stderr is not None
        return self.process.stderr.read(nbytes) or b""

    def shutdown_write(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()

    def recv_exit_status(self) -> int:
        return self.process.wait()

    def close(self) -> None:
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()
        self.process.wait()


class LocalTransport:
    """A transport whose commands are children of the test."""

    host = "localhost"
    user = "tester"
    connect_timeout: float | None = None
    is_connected = True

    def open(self) -> None:
        """Do nothing: it is always open."""

    def open_channel(self, silence: float) -> LocalChannel:
        return LocalChannel()

    def close(self) -> None:
        """Do nothing: channels close themselves."""


class PlayResult:
    """The result of a playbook that was played on this machine."""

    def __init__(self, recap: Recap, sessions: Sessions, text: str, log: str) -> None:
        self.recap = recap
        self.counts = recap.numbers()
        self.sessions = sessions
        self.text = text
        self.log = log


def play(
    source: str,
    folder: Path,
    *,
    check: bool = False,
    diff: bool = False,
    tags: str = "",
    skip_tags: str = "",
    extra: tuple[str, ...] = (),
    variables: dict[str, Any] | None = None,
    verbose: bool = True,
    as_json: bool = False,
    connect: Callable[[], Transport] = LocalTransport,
) -> PlayResult:
    """Write a playbook's text into a folder and play it, as the login user, on this machine."""
    from provision.engine.run_options import split_words

    path = folder / "play.yml"
    path.write_text(source)
    (folder / "inventory").mkdir(exist_ok=True)
    (folder / "inventory" / "hosts.yml").write_text("all: {hosts: {here: {}}}\n")
    inventory = hosts.read_inventory(folder / "inventory")
    host = Host("here", {**inventory.host("here").variables, **(variables or {})}, ())
    options = RunOptions(
        check, diff, split_words(tags), split_words(skip_tags), extra_variables(extra)
    )
    sessions = Sessions(lambda ask: connect(), exclusive=False)
    stream = io.StringIO()
    with RunLog(folder / "log", "test", ["here"]) as log:
        redactor = Redactor()
        report = RunReport(["here"], redactor, log, stream=stream, verbose=verbose, as_json=as_json)
        values = HostVariables(host, inventory, options.extra, check, diff, redactor.add)
        recap = HostRun(host, values, sessions, options, report).run(playbook.load(path))
        report.recap([recap], 0.0)
    return PlayResult(recap, sessions, stream.getvalue(), log.path.read_text())

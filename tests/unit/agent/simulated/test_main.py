"""The agent under systemd: start, watchdog, stop, and what remains."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from agent import __main__ as program
from agent.sampling.sampler import Sampler
from agent.systemd import notify_systemd
from lab.build.host import find_free_port
from lab.simulate.simulated_rig import SimulatedRig
from tests.unit.agent.simulated import rigs
from tests.unit.agent.web.server import PATIENCE_SECONDS, wait_for


class Agent:
    """`python -m agent` with a socket for its notifications to systemd."""

    def __init__(self, rig: SimulatedRig, *more: str, address: str = "") -> None:
        self.rig = rig
        self.messages: list[str] = []
        self.listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        name = address or str(rig.folder / "notify")
        self.listening.bind(name.replace("@", "\0", 1) if name.startswith("@") else name)
        self.listening.setblocking(False)
        port = find_free_port()
        self.url = f"http://127.0.0.1:{port}"
        flags = [
            *rigs.words(rig),
            f"--web.listen-address=127.0.0.1:{port}",
            "--sample.interval=100ms",
            *more,
        ]
        self.errors = rig.folder / "stderr"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "agent", *flags],
            env=os.environ | rig.environment | {"NOTIFY_SOCKET": name},
            stderr=self.errors.open("w"),
        )

    def hear(self) -> list[str]:
        """Return all messages so far."""
        try:
            while True:
                self.messages.append(self.listening.recv(4096).decode())
        except BlockingIOError:
            return self.messages

    def wait(self, what: str, times: int = 1) -> None:
        wait_for(lambda: self.hear().count(what) >= times, what)

    def ask(self, path: str) -> bytes:
        with urllib.request.urlopen(self.url + path, timeout=PATIENCE_SECONDS) as answer:
            content: bytes = answer.read()
            return content

    def children(self) -> list[int]:
        """Return the children of every thread: the thread that starts a process is its parent."""
        lists = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        return [int(pid) for file in lists for pid in file.read_text().split()]

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_SECONDS)


@pytest.fixture
def agent(rig: SimulatedRig) -> Iterator[Agent]:
    made = Agent(rig)
    yield made
    made.process.kill()
    made.process.wait()
    made.listening.close()


def is_alive(pid: int) -> bool:
    """Return whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_agent_starts_serves_and_stops(agent: Agent, number: int) -> None:
    """It is ready with the first sample, exits with status 0, and leaves no child."""
    agent.wait("READY=1")
    # On a busy machine the GPUs may take more than the first sample to answer.
    wait_for(lambda: json.loads(agent.ask("/api/v1/rig"))["driver"]["state"] == "ok", "ok")
    agent.wait("WATCHDOG=1", 3)
    wait_for(
        lambda: "STATUS=3 of 3 GPUs answer; verdict: " in "\n".join(agent.hear()), "the status"
    )
    assert b"deeprig_" in agent.ask("/metrics")
    children = agent.children()
    assert len(children) == 1
    began = time.monotonic()
    assert agent.end(number) == 0
    assert time.monotonic() - began < 3
    assert not any(is_alive(pid) for pid in children)
    states = [message.partition("\n")[0] for message in agent.hear()]
    assert (states.count("READY=1"), states[-1]) == (1, "STOPPING=1")
    log = agent.errors.read_text()
    assert "Traceback" not in log
    assert re.search(r"^version \S+ listens on 127\.0\.0\.1:\d+$", log, re.MULTILINE)
    assert re.search(r"^driver ok, 3 of 3 GPUs answer, status ", log, re.MULTILINE)


def test_watchdog_is_notified_with_every_sample(agent: Agent) -> None:
    agent.wait("READY=1")
    agent.wait("WATCHDOG=1", 5)
    samples = json.loads(agent.ask("/api/v1/rig"))["agent"]["samples"]
    assert abs(samples - 1 - agent.hear().count("WATCHDOG=1")) <= 1


def test_agent_stops_while_gpus_hang(rig: SimulatedRig, agent: Agent) -> None:
    agent.wait("WATCHDOG=1", 2)
    rig.set(hang=1)
    wait_for(
        lambda: json.loads(agent.ask("/api/v1/rig"))["driver"]["state"] == "unresponsive", "hung"
    )
    children = agent.children()
    began = time.monotonic()
    assert agent.end() == 0
    assert time.monotonic() - began < 3
    assert not any(is_alive(pid) for pid in children)


def test_open_connection_does_not_delay_the_stop(agent: Agent) -> None:
    agent.wait("READY=1")
    with socket.create_connection(("127.0.0.1", int(agent.url.rpartition(":")[2]))) as client:
        client.send(b"GET /metrics HT")
        assert agent.end() == 0


def test_killed_agent_leaves_no_child(agent: Agent) -> None:
    agent.wait("WATCHDOG=1", 2)
    (child,) = agent.children()
    agent.end(signal.SIGKILL)
    wait_for(lambda: not is_alive(child), "the child sees that its parent is gone")


def test_state_changes_are_logged_once(rig: SimulatedRig, agent: Agent) -> None:
    agent.wait("WATCHDOG=1", 3)
    rig.set(1, lost=1)
    wait_for(lambda: "2 of 3 GPUs answer" in agent.errors.read_text(), "the status")
    now = agent.hear().count("WATCHDOG=1")
    agent.wait("WATCHDOG=1", now + 3)
    lines = agent.errors.read_text().splitlines()
    assert all(line != following for line, following in pairwise(lines))
    assert "0000:06:00.0" in "\n".join(lines)


def test_agent_listens_on_several_addresses(rig: SimulatedRig) -> None:
    """One address is IPv6, if the machine has it."""
    port = find_free_port()
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        more = f"[::1]:{port}"
    except OSError:
        more = f"127.0.0.2:{port}"
    agent = Agent(rig, f"--web.listen-address={more}")
    try:
        agent.wait("READY=1")
        agent.ask("/metrics")
        agent.url = f"http://{more}"
        assert b"deeprig_" in agent.ask("/metrics")
    finally:
        assert agent.end() == 0
        agent.listening.close()


def test_notify_socket_may_be_abstract(rig: SimulatedRig) -> None:
    agent = Agent(rig, address=f"@deeprig-test-{os.getpid()}")
    try:
        agent.wait("READY=1")
    finally:
        assert agent.end() == 0
        agent.listening.close()


def test_error_in_the_sampler_ends_the_agent(
    rig: SimulatedRig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The status is 1, so that systemd restarts it."""

    class Broken(Sampler):
        def run(self, *words: object) -> None:
            raise SystemError("not to be fixed")

    monkeypatch.setattr(program, "Sampler", Broken)
    monkeypatch.setattr("threading.excepthook", lambda _: None)
    before = sys.getswitchinterval()
    try:
        status = program.main([*rigs.words(rig), "--web.listen-address=127.0.0.1:0"])
    finally:
        sys.setswitchinterval(before)
    assert (status, capsys.readouterr().err) == (1, "deeprig-agent: sampling ended\n")


@pytest.mark.parametrize("address", [None, "", "/nowhere/notify", "@without-a-listener"])
def test_notify_without_a_socket_does_nothing(
    address: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    if address is not None:
        monkeypatch.setenv("NOTIFY_SOCKET", address)
    notify_systemd("READY=1")

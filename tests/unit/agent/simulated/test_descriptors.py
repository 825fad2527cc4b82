"""An agent without free descriptors: it keeps old readings, with their time."""

from __future__ import annotations

import json
import os
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from agent.nvml.process import read_module_version
from agent.readings import pcie
from agent.readings.host import HostReader
from agent.readings.json_file import JsonFileReader
from agent.readings.nccl import ResultReader
from agent.readings.validation import parse
from agent.sampling.sampler import read_process_cost
from agent.web.web_config import WebConfigFile
from lab.simulate.simulated_rig import SimulatedRig
from tests.unit.agent.simulated import rigs
from tests.unit.agent.simulated.test_main import Agent
from tests.unit.agent.web.server import wait_for
from tests.unit.agent.web.test_app import get, make_app

CPU_SHARE_MOST = 0.5  # of a core; an accept loop that asks again at once takes all of it


@contextmanager
def exhaust_descriptors() -> Iterator[None]:
    """Use up this process's descriptors until the block ends."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))  # noqa: PTH208
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, before[1]))
    taken = []
    try:
        try:
            while True:
                taken.append(os.dup(0))
        except OSError:
            pass
        yield
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def readers(rig: SimulatedRig) -> dict[str, Any]:
    """Every reading that opens files, as calls that are repeated."""
    host = HostReader(procfs="/proc", sysfs=str(rig.sysfs), rootfs=str(rig.folder))
    results = ResultReader(rig.folder / "state/nccl")
    validation = JsonFileReader(rig.folder / "state/validation/summary.json", parse)
    return {
        "devices": lambda: pcie.list_devices(str(rig.sysfs)),
        "gpus": lambda: pcie.read_gpus(str(rig.sysfs), aer=True),
        "width": lambda: pcie.read_current(f"{rig.sysfs}/bus/pci/devices/{rigs.FIRST}"),
        "errors": lambda: pcie.read_aer(f"{rig.sysfs}/bus/pci/devices/{rigs.FIRST}"),
        "host": lambda: host.read().memory_size_bytes,
        "results": results.read,
        "validation": validation.read,
        "module": lambda: read_module_version(str(rig.procfs)),
        "cost": lambda: read_process_cost(os.getpid()) is not None,
    }


@pytest.mark.parametrize(
    "name",
    ["devices", "gpus", "width", "errors", "host", "results", "validation", "module", "cost"],
)
def test_reading_without_descriptors_fails_and_later_succeeds(rig: SimulatedRig, name: str) -> None:
    """The reading must not report a missing file, not even later."""
    rigs.result(rig)
    rigs.validation(rig)
    expected = readers(rig)[name]()
    assert expected
    read = readers(rig)[name]
    with exhaust_descriptors(), pytest.raises(OSError, match="Too many open files"):
        read()
    assert read() == expected


def test_web_configuration_is_refreshed_when_descriptors_are_free(tmp_path: Path) -> None:
    file = tmp_path / "web.yml"
    file.write_text("http_server_config: {headers: {X-Frame-Options: deny}}\n")
    web = WebConfigFile(file)
    file.write_text("http_server_config: {headers: {X-Frame-Options: sameorigin}}\n")
    os.utime(file, (1, 1))
    with exhaust_descriptors():
        assert web.refresh() is None
        assert web.config.headers == {"X-Frame-Options": "deny"}
    assert web.refresh() is None
    assert web.config.headers == {"X-Frame-Options": "sameorigin"}


def test_page_without_descriptors_is_503_not_404() -> None:
    app = make_app()
    with exhaust_descriptors():
        assert get(app, "/page/page.js").status == 503
    assert get(app, "/page/page.js").status == 200


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_agent_without_descriptors_keeps_its_readings_and_recovers(rig: SimulatedRig) -> None:
    """The limit falls below the open descriptors: the agent can accept and read nothing."""
    rigs.result(rig)
    rigs.validation(rig)
    agent = Agent(rig)
    waiting = None
    try:
        agent.wait("READY=1")
        wait_for(
            lambda: all(gpu["up"] for gpu in json.loads(agent.ask("/api/v1/rig"))["gpus"]),
            "all GPUs answer",
        )
        address = ("127.0.0.1", int(agent.url.rpartition(":")[2]))
        connection = socket.create_connection(address, timeout=10)
        before = document(connection)
        _, hard = resource.prlimit(agent.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(agent.process.pid, resource.RLIMIT_NOFILE, (3, hard))
        waiting = socket.create_connection(address, timeout=10)
        wait_for(lambda: "cannot accept connections" in agent.errors.read_text(), "refused")
        wait_for(lambda: "a sample failed" in agent.errors.read_text(), "no sample")
        began, used = time.monotonic(), cpu_seconds(agent.process.pid)
        wait_for(lambda: agent.errors.read_text().count("a sample failed") > 15, "15 samples")
        share = (cpu_seconds(agent.process.pid) - used) / (time.monotonic() - began)
        assert share < CPU_SHARE_MOST
        during = document(connection)
        assert during["sampled_at"] >= before["sampled_at"]
        for part in ("gpus", "nccl", "validation", "driver"):
            assert bool(during[part]) == bool(before[part]), part
        assert verdicts(during) == verdicts(before)
        resource.prlimit(agent.process.pid, resource.RLIMIT_NOFILE, (hard, hard))
        waiting.sendall(b"GET /-/ready HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert waiting.recv(64).startswith(b"HTTP/1.1 200 ")
        wait_for(lambda: document(connection)["sampled_at"] > during["sampled_at"], "a new sample")
        assert verdicts(document(connection)) == verdicts(before)
        assert agent.errors.read_text().count("cannot accept connections") == 1
    finally:
        if waiting is not None:
            waiting.close()
        agent.process.kill()
        agent.process.wait()
        agent.listening.close()


def document(channel: socket.socket) -> dict[str, Any]:
    """Return the rig's document, over an open connection."""
    channel.sendall(b"GET /api/v1/rig HTTP/1.1\r\nHost: localhost\r\n\r\n")
    with channel.makefile("rb") as stream:
        assert stream.readline().startswith(b"HTTP/1.1 200 ")
        length = 0
        while (line := stream.readline()) != b"\r\n":
            if line.lower().startswith(b"content-length:"):
                length = int(line.split()[1])
        content: dict[str, Any] = json.loads(stream.read(length))
        return content


def verdicts(rig: dict[str, Any]) -> set[tuple[str, str]]:
    return {(verdict["check"], verdict["subject"]) for verdict in rig["verdicts"]}

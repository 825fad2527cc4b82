"""The service: its sandbox, killed processes, misbehaving clients, invalid settings."""

from __future__ import annotations

import json
import re
import socket
import time
from contextlib import suppress

import pytest

from tests.lab.agent.conftest import NAME, UNIT, MonitoredRig
from tests.lab.operator import fab, wait_until

EXPOSURE_MOST = 2.0


@pytest.fixture(autouse=True)
def healthy(monitored_rig: MonitoredRig) -> None:
    monitored_rig.until("sum(deeprig_gpu_up) == 3")


def show_property(monitored_rig: MonitoredRig, name: str) -> str:
    return monitored_rig.rig.run(f"systemctl show -p {name} --value {UNIT}").stdout.strip()


def test_systemd_sandbox_limits_exposure(monitored_rig: MonitoredRig) -> None:
    result = monitored_rig.rig.run(f"systemd-analyze security --no-pager {UNIT}").stdout
    match = re.search(r"Overall exposure level for \S+: ([\d.]+)", result)
    assert match, result
    assert float(match[1]) <= EXPOSURE_MOST, result
    main = show_property(monitored_rig, "MainPID")
    status = monitored_rig.rig.run(f"cat /proc/{main}/status").stdout
    assert re.search(r"^NoNewPrivs:\t1$", status, re.MULTILINE)
    user = monitored_rig.rig.run("id -u deeprig-agent").stdout.strip()
    assert re.search(rf"^Uid:\t{user}\t", status, re.MULTILINE)
    capabilities = re.search(r"^CapEff:\t([0-9a-f]+)$", status, re.MULTILINE)
    assert capabilities
    syslog = 1 << 34
    assert int(capabilities[1], 16) & ~syslog == 0
    # In its own namespace the system can't be written to, and home folders are empty.
    inside = f"nsenter -t {main} -m setpriv --reuid {user} --clear-groups sh -c"
    assert (
        monitored_rig.rig.run(f"{inside} 'touch /var/lib/deeprig/x'", check=False).returncode != 0
    )
    assert monitored_rig.rig.run(f"{inside} 'ls /home/user'", check=False).returncode != 0


def list_processes(monitored_rig: MonitoredRig) -> dict[str, str]:
    """Return the pids of the server and of the process that asks NVML, while both run."""
    main = show_property(monitored_rig, "MainPID")
    child = monitored_rig.rig.run(f"pgrep -P {main}", check=False).stdout.split()
    return {"server": main, "nvml": child[0] if len(child) == 1 else ""}


@pytest.mark.parametrize("name", ["nvml", "server"])
def test_killed_process_is_restarted(monitored_rig: MonitoredRig, name: str) -> None:
    before = list_processes(monitored_rig)
    monitored_rig.rig.run(f"kill -9 {before[name]}")

    def is_back() -> bool:
        now = list_processes(monitored_rig)
        return all(now.values()) and now[name] != before[name] and now["server"] != "0"

    wait_until(is_back)
    monitored_rig.until("sum(deeprig_gpu_up) == 3")
    monitored_rig.until("time() - deeprig_agent_sample_timestamp_seconds < 3")
    # With the server its child goes: systemd ends all that is left of the service.
    assert len(monitored_rig.rig.run("pgrep -u deeprig-agent").stdout.split()) == 2


def test_hundred_slow_clients_are_disconnected(monitored_rig: MonitoredRig) -> None:
    """The clients send single bytes and never a whole request; the agent closes all of them."""
    address = (monitored_rig.rig.address, 10390)
    clients = [socket.create_connection(address, timeout=20) for _ in range(100)]
    try:
        for number in range(3):
            for client in clients:
                with suppress(ConnectionError):  # it was one too many of this address
                    client.send(b"GET /metrics HTTP/1.1\r\nX-Slow: "[number * 8 : number * 8 + 8])
            began = time.monotonic()
            assert monitored_rig.get("/api/v1/rig")["status"]
            assert time.monotonic() - began < 1
        monitored_rig.until('min_over_time(up{job="deeprig"}[3s]) == 1')
        for client in clients:
            with suppress(ConnectionError):
                heard = client.recv(1024)
                assert heard == b"" or heard.startswith(b"HTTP/1.1 408 ")
    finally:
        for client in clients:
            client.close()


def test_connections_from_one_address_do_not_block_other_clients(
    monitored_rig: MonitoredRig,
) -> None:
    """With 1,250 idle connections, other addresses, the rig itself and Prometheus get answers."""
    address = (monitored_rig.rig.address, 10390)
    before = read_resident_kib(monitored_rig)
    verdicts = {verdict["check"] for verdict in monitored_rig.get("/api/v1/rig")["verdicts"]}
    clients = [socket.create_connection(address, timeout=20) for _ in range(1250)]
    try:
        main = show_property(monitored_rig, "MainPID")
        held = monitored_rig.rig.run(f"ls /proc/{main}/fd | wc -l").stdout
        assert int(held) < 128, held
        monitored_rig.rig.run(
            f"curl -fsS -m 10 http://{monitored_rig.rig.address}:10390/metrics >/dev/null"
        )
        monitored_rig.until('min_over_time(up{job="deeprig"}[3s]) == 1')
        assert {
            verdict["check"] for verdict in monitored_rig.get("/api/v1/rig")["verdicts"]
        } == verdicts
        assert read_resident_kib(monitored_rig) < before + (16 << 10)
    finally:
        for client in clients:
            client.close()


def test_requests_are_accepted_only_for_names_of_the_rig(monitored_rig: MonitoredRig) -> None:
    """Names of the inventory and of the rig are accepted, names of other sites are not."""

    def status(host: str) -> str:
        return monitored_rig.rig.run(
            f"curl -sS -m 10 -o /dev/null -w '%{{http_code}}' -H 'Host: {host}:10390'"
            f" http://{monitored_rig.rig.address}:10390/api/v1/rig"
        ).stdout

    hostname = monitored_rig.rig.run("uname -n").stdout.strip()
    assert {name: status(name) for name in (NAME, hostname, monitored_rig.rig.address)} == {
        NAME: "200",
        hostname: "200",
        monitored_rig.rig.address: "200",
    }
    assert status("evil.example") == "421"


def read_resident_kib(monitored_rig: MonitoredRig) -> int:
    """Return the resident memory of all processes of the service."""
    group = show_property(monitored_rig, "ControlGroup")
    pids = monitored_rig.rig.run(
        f"cat /sys/fs/cgroup{group}/cgroup.procs", check=False
    ).stdout.split()
    pids = pids or monitored_rig.rig.run("pgrep -u deeprig-agent").stdout.split()
    result = monitored_rig.rig.run(
        f"grep -h VmRSS {' '.join(f'/proc/{pid}/status' for pid in pids)}"
    ).stdout
    return sum(int(line.split()[1]) for line in result.splitlines())


def test_ten_thousand_scrapes_leak_no_memory(monitored_rig: MonitoredRig) -> None:
    def scrape(count: int) -> None:
        request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n\r\n"
        with socket.create_connection((monitored_rig.rig.address, 10390), timeout=10) as client:
            stream = client.makefile("rb")
            for _ in range(count):
                client.sendall(request)
                assert stream.readline() == b"HTTP/1.1 200 OK\r\n"
                while (line := stream.readline()) != b"\r\n":
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split()[1])
                stream.read(length)

    scrape(2000)  # what is made once is made now
    before = read_resident_kib(monitored_rig)
    scrape(10_000)
    assert read_resident_kib(monitored_rig) <= before + 1024


@pytest.mark.parametrize(
    ("name", "value", "result"),
    [
        ("agent_thresholds", {"no_such": 1}, "unknown threshold 'no_such'"),
        ("pcie_path_width", 3, "3 is not the width of a PCIe link"),
        (
            "agent_sample_interval",
            "soon",
            "--sample.interval: expected a duration such as 5s, got 'soon'",
        ),
        ("agent_listen_addresses", ["here"], "--web.listen-address: 'here': expected ADDRESS:PORT"),
    ],
)
def test_invalid_settings_stop_the_agent_with_one_line(
    monitored_rig: MonitoredRig, name: str, value: object, result: str
) -> None:
    words = ("provision", "--tags", "agent", "-e", json.dumps({name: value}))
    failed = fab(monitored_rig.inventory, NAME, *words, seconds=60)
    assert failed.status != 0, failed.text
    assert show_property(monitored_rig, "ExecMainStatus") == "2"
    assert show_property(monitored_rig, "NRestarts") == "0"  # a restart would not fix it
    journal = monitored_rig.rig.run(f"journalctl -u {UNIT} -n 8 -o cat --no-pager").stdout
    (line,) = {line for line in journal.splitlines() if line.startswith("deeprig-agent:")}
    assert result in line
    if name in ("agent_thresholds", "pcie_path_width"):
        assert re.search(r"/etc/deeprig/agent\.yml:\d+: ", line)
    mended = fab(monitored_rig.inventory, NAME, "provision", "--tags", "agent", seconds=60)
    assert mended.status == 0, mended.text

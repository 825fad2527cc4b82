"""The agent's command line: valid flags, and one line for each error."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent import VERSION
from agent.configuration import settings
from agent.configuration.settings import Settings, parse_address, parse_arguments, parse_duration
from agent.errors import ConfigurationError

ROOT = Path(__file__).parents[3]
CASES = yaml.safe_load((Path(__file__).parent / "cases/settings.yml").read_text())


def run(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the agent as a process that ends by itself."""
    return subprocess.run(
        [sys.executable, "-m", "agent", *words],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


@pytest.fixture
def usual(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return the default path of the configuration file."""
    file = tmp_path / "agent.yml"
    monkeypatch.setattr(settings, "DEFAULT_CONFIG", str(file))
    return file


@pytest.mark.parametrize("case", CASES, ids=lambda case: " ".join(case["words"]))
def test_invalid_arguments_are_reported(case: Any, usual: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_arguments(case["words"])
    assert str(caught.value) == case["error"]


@pytest.mark.parametrize(
    "words",
    [
        ("--no-such-flag",),
        ("--sample.interval=0s",),
        ("--web.config.file=/nowhere/web.yml",),
        ("--config.file=/nowhere/agent.yml",),
    ],
)
def test_invalid_arguments_are_one_line_and_status_2(words: tuple[str, ...]) -> None:
    done = run("--web.listen-address=127.0.0.1:0", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"deeprig-agent: .+\n", done.stderr), done.stderr


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_port_in_use_is_one_line_and_status_1(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        taken = socket.create_server((host, 0), family=family)
    except OSError:
        pytest.skip(f"this machine has no {host}")
    with taken:
        port = taken.getsockname()[1]
        written = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        done = run(f"--web.listen-address={written}", "--path.sysfs=/nowhere")
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"deeprig-agent: can't listen: .*in use\n", done.stderr), done.stderr
    assert str(port) in done.stderr


def test_foreign_address_is_one_line_and_status_1() -> None:
    done = run("--web.listen-address=192.0.2.1:10390", "--path.sysfs=/nowhere")
    assert done.returncode == 1
    assert re.fullmatch(r"deeprig-agent: can't listen: .*192\.0\.2\.1.*\n", done.stderr)


def test_help_and_version() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout) == (0, f"deeprig-agent {VERSION}\n")
    done = run("--help")
    assert (done.returncode, done.stderr) == (0, "")
    fields = set(Settings.__dataclass_fields__)
    assert done.stdout.count("  --") >= len(fields)
    assert "%(default)s" not in done.stdout
    for default in ("127.0.0.1:10390", "/metrics", "5s", "2s", "/dev/kmsg", "/etc/deeprig/agent"):
        assert default in done.stdout


def test_defaults_of_the_settings(usual: Path) -> None:
    settings = parse_arguments([])
    assert settings.addresses == (("127.0.0.1", 10390),)
    assert (settings.telemetry_path, settings.web_config) == ("/metrics", None)
    assert (settings.interval, settings.nvml_deadline, settings.pcie_throughput) == (
        5.0,
        2.0,
        False,
    )
    assert (settings.procfs, settings.sysfs, settings.rootfs) == ("/proc", "/sys", "/")
    assert settings.results_folder == Path("/var/lib/deeprig/nccl")
    assert settings.expectations.config_file is None


def test_arguments_override_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "agent.yml").write_text("gpus: 4\n")
    settings = parse_arguments(
        [
            "--web.listen-address=:1",
            "--web.listen-address=[::1]:2",
            "--sample.interval",
            "500ms",
            "--nvml.deadline=1m",
            "--readings.pcie-throughput",
            "--web.telemetry-path=/gpu/metrics",
            f"--config.file={tmp_path / 'agent.yml'}",
            "--path.rootfs=/host",
            "--path.state=/data",
            "--web.config.file=web.yml",
        ]
    )
    assert settings.addresses == (("", 1), ("::1", 2))
    assert (settings.interval, settings.nvml_deadline) == (0.5, 0.25), (
        "no deadline outlasts half a sample"
    )
    assert (settings.pcie_throughput, settings.telemetry_path) == (True, "/gpu/metrics")
    assert settings.results_folder == Path("/host/data/nccl")
    assert (settings.expectations.gpus, settings.web_config) == (4, Path("web.yml"))


def test_default_configuration_file_is_read_if_present(usual: Path) -> None:
    usual.write_text("gpus: 5\n")
    assert parse_arguments([]).expectations.gpus == 5
    usual.write_text("gpus: five\n")
    with pytest.raises(ConfigurationError, match=rf"{usual}:1: 'gpus' must be a number"):
        parse_arguments([])


@pytest.mark.parametrize(
    ("word", "means"),
    [
        ("127.0.0.1:10390", ("127.0.0.1", 10390)),
        ("localhost:1", ("localhost", 1)),
        (":65535", ("", 65535)),
        ("0.0.0.0:0", ("0.0.0.0", 0)),
        ("[::]:10390", ("::", 10390)),
        ("[fe80::1%eth0]:10390", ("fe80::1%eth0", 10390)),
    ],
)
def test_address_is_parsed(word: str, means: tuple[str, int]) -> None:
    assert parse_address(word) == means


@pytest.mark.parametrize(
    ("word", "seconds"), [("500ms", 0.5), ("5s", 5), ("0.5s", 0.5), ("1m", 60), ("1.5m", 90)]
)
def test_duration_is_parsed(word: str, seconds: float) -> None:
    assert parse_duration("--x", word) == seconds

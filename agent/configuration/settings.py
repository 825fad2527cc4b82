"""The agent's command line, in the style of Prometheus' exporters."""

from __future__ import annotations

import argparse
import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from agent import VERSION
from agent.configuration.expectations import Expectations, load_expectations
from agent.configuration.host_names import read_configured_names, read_machine_names
from agent.errors import ConfigurationError

DEFAULT_ADDRESS = "127.0.0.1:10390"
DEFAULT_CONFIG = "/etc/deeprig/agent.yml"
INTERVAL_SECONDS = 5.0
INTERVALS = (0.1, 60.0)  # least, most
DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m)")
PORT = re.compile(r"[0-9]{1,5}")
PLAIN_PATH = re.compile(r"/[A-Za-z0-9._~/-]+")  # no client needs to escape it
UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0}
RESERVED_PATHS = ("/-/", "/api/", "/page/")
#: Flags with a value: name, attribute, placeholder, default, help.
FLAGS = (
    (
        "--web.telemetry-path",
        "telemetry_path",
        "PATH",
        "/metrics",
        "path of the metrics (default %(default)s)",
    ),
    (
        "--web.config.file",
        "web_config",
        "FILE",
        None,
        "TLS and basic authentication, in the exporter-toolkit format",
    ),
    (
        "--config.file",
        "config",
        "FILE",
        None,
        f"what is expected of the rig (default {DEFAULT_CONFIG} if it exists)",
    ),
    (
        "--sample.interval",
        "interval",
        "DURATION",
        f"{INTERVAL_SECONDS:g}s",
        "time between samples: 500ms, 5s, 1m (default %(default)s)",
    ),
    (
        "--nvml.deadline",
        "deadline",
        "DURATION",
        "2s",
        "a GPU that does not answer in this time is hung (default %(default)s)",
    ),
    ("--path.procfs", "procfs", "DIR", "/proc", "default %(default)s"),
    ("--path.sysfs", "sysfs", "DIR", "/sys", "default %(default)s"),
    ("--path.rootfs", "rootfs", "DIR", "/", "default %(default)s"),
    (
        "--path.kernel-log",
        "kernel_log",
        "FILE",
        "/dev/kmsg",
        "kernel messages, which report Xids (default %(default)s)",
    ),
    (
        "--path.state",
        "state",
        "DIR",
        "/var/lib/deeprig",
        "its folder nccl contains benchmark results (default %(default)s)",
    ),
)


@dataclass(frozen=True)
class Settings:
    """The agent's settings. Times in seconds."""

    addresses: tuple[tuple[str, int], ...]
    telemetry_path: str
    web_config: Path | None
    expectations: Expectations
    host_names: tuple[str, ...]
    interval: float
    nvml_deadline: float
    pcie_throughput: bool
    procfs: str
    sysfs: str
    rootfs: str
    kernel_log: str
    state_directory: str

    @property
    def results_folder(self) -> Path:
        """The folder of benchmark results."""
        return Path(self.rootfs, self.state_directory.lstrip("/"), "nccl")

    @property
    def validation_summary(self) -> Path:
        """The summary of the last validation."""
        return Path(self.rootfs, self.state_directory.lstrip("/"), "validation", "summary.json")

    @property
    def system_state(self) -> Path:
        """What root's timer writes of kernels and packages."""
        return Path(self.rootfs, self.state_directory.lstrip("/"), "system.json")


class _ArgumentParser(argparse.ArgumentParser):
    """Raises errors of one line instead of printing the usage."""

    def error(self, message: str) -> NoReturn:
        raise ConfigurationError(f"{message} (--help lists the flags)")


def parse_arguments(words: Sequence[str]) -> Settings:
    """Read the command line and the configuration file. Raises ConfigurationError."""
    parser = _ArgumentParser(
        prog="deeprig-agent",
        description="Exports a rig's PCIe links, NCCL results and GPU health to Prometheus.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"deeprig-agent {VERSION}")
    parser.add_argument(
        "--web.listen-address",
        dest="addresses",
        action="append",
        metavar="ADDRESS:PORT",
        help=f"address to listen on; repeatable (default {DEFAULT_ADDRESS})",
    )
    for name, attribute, placeholder, default, text in FLAGS:
        parser.add_argument(name, dest=attribute, default=default, metavar=placeholder, help=text)
    parser.add_argument(
        "--readings.pcie-throughput",
        dest="throughput",
        action="store_true",
        help="also measure PCIe traffic; takes 40 ms for each GPU and sample",
    )
    flags = parser.parse_args(words)
    interval = parse_duration("--sample.interval", flags.interval)
    if not INTERVALS[0] <= interval <= INTERVALS[1]:
        least, most = INTERVALS
        raise ConfigurationError(
            f"--sample.interval: {flags.interval} is not {least:g}s to {most:g}s"
        )
    config = find_config_file(flags.config)
    return Settings(
        addresses=tuple(parse_address(word) for word in flags.addresses or [DEFAULT_ADDRESS]),
        telemetry_path=parse_telemetry_path(flags.telemetry_path),
        web_config=Path(flags.web_config) if flags.web_config else None,
        expectations=load_expectations(config),
        host_names=(*sorted(read_machine_names()), *read_configured_names(config)),
        interval=interval,
        # At most half an interval: the other readings wait for NVML once a sample.
        nvml_deadline=min(parse_duration("--nvml.deadline", flags.deadline), interval / 2),
        pcie_throughput=flags.throughput,
        procfs=flags.procfs,
        sysfs=flags.sysfs,
        rootfs=flags.rootfs,
        kernel_log=flags.kernel_log,
        state_directory=flags.state,
    )


def find_config_file(name: str | None) -> Path | None:
    """Return the named file, which must exist, or the default file if it exists."""
    if name:
        return Path(name)
    default = Path(DEFAULT_CONFIG)
    return default if default.exists() else None


def parse_address(word: str) -> tuple[str, int]:
    """Parse HOST:PORT, [IPv6]:PORT, or :PORT for every address of the machine.

    >>> parse_address("[::1]:10390")
    ('::1', 10390)
    """
    host, colon, port = word.rpartition(":")
    where = f"--web.listen-address: {word!r}"
    if not colon or not PORT.fullmatch(port) or int(port) > 65535:
        raise ConfigurationError(f"{where}: expected ADDRESS:PORT, such as {DEFAULT_ADDRESS}")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ConfigurationError(f"{where}: write an IPv6 address in brackets, [::1]:{port}")
    if host and host != "localhost":
        try:
            ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            raise ConfigurationError(f"{where}: {host!r} is not an IP address") from None
    return host, int(port)


def parse_duration(flag: str, word: str) -> float:
    """Return the seconds of a duration such as 500ms, 5s or 1m."""
    match = DURATION.fullmatch(word)
    if not match or float(match[1]) == 0:
        raise ConfigurationError(f"{flag}: expected a duration such as 5s, got {word!r}")
    return float(match[1]) * UNITS[match[2]]


def parse_telemetry_path(word: str) -> str:
    """Return a path that no other route uses."""
    if not PLAIN_PATH.fullmatch(word) or word.startswith(RESERVED_PATHS):
        raise ConfigurationError(
            f"--web.telemetry-path: {word!r} is invalid or reserved; use a path such as /metrics"
        )
    return word

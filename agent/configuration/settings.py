"""The agent's command line, in the manner of Prometheus' exporters."""

from __future__ import annotations

import argparse
import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from agent import VERSION
from agent.configuration import expectations, hostnames
from agent.configuration.expectations import Expectations
from agent.errors import ConfigurationError

DEFAULT_ADDRESS = "127.0.0.1:10390"
DEFAULT_CONFIG = "/etc/deeprig/agent.yml"
INTERVAL_SECONDS = 5.0
INTERVALS = (0.1, 60.0)  # least, most
DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m)")
PORT = re.compile(r"[0-9]{1,5}")
PLAIN_PATH = re.compile(r"/[A-Za-z0-9._~/-]+")  # that no client has to write in another way
UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0}
TAKEN = ("/", "/-/", "/api/", "/page/")  # what the telemetry path can't be, or begin with


@dataclass(frozen=True)
class Settings:
    """What the agent was told. Times in seconds."""

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
        """Where benchmark runs leave their results."""
        return Path(self.rootfs, self.state_directory.lstrip("/"), "nccl")

    @property
    def validation_summary(self) -> Path:
        """What the last validation left."""
        return Path(self.rootfs, self.state_directory.lstrip("/"), "validation", "summary.json")


class _Parser(argparse.ArgumentParser):
    """Errors as ours, in one line, without the whole usage."""

    def error(self, message: str) -> NoReturn:
        raise ConfigurationError(f"{message} (--help lists the flags)")


def parse(words: Sequence[str]) -> Settings:
    """Read the command line and the configuration file. Raises ConfigurationError."""
    parser = _Parser(
        prog="deeprig-agent",
        description="Exports a rig's PCIe links, NCCL results and GPU health to Prometheus.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--version", action="version", version=f"deeprig-agent {VERSION}")
    add("--web.listen-address", dest="addresses", action="append", metavar="ADDRESS:PORT",
        help=f"where to listen; repeatable (default {DEFAULT_ADDRESS})")  # fmt: skip
    add("--web.telemetry-path", dest="telemetry_path", default="/metrics", metavar="PATH",
        help="where the metrics are (default %(default)s)")  # fmt: skip
    add("--web.config.file", dest="web_config", metavar="FILE",
        help="TLS and basic authentication, in the exporter-toolkit format")  # fmt: skip
    add("--config.file", dest="config", metavar="FILE",
        help=f"what is expected of the rig (default {DEFAULT_CONFIG}, if any)")  # fmt: skip
    add("--sample.interval", dest="interval", default=f"{INTERVAL_SECONDS:g}s", metavar="DURATION",
        help="between samples: 500ms, 5s, 1m (default %(default)s)")  # fmt: skip
    add("--nvml.deadline", dest="deadline", default="2s", metavar="DURATION",
        help="after which a GPU that does not answer is hung (default %(default)s)")  # fmt: skip
    add("--readings.pcie-throughput", dest="throughput", action="store_true",
        help="PCIe traffic as well; takes 40 ms a GPU and sample")  # fmt: skip
    add("--path.procfs", dest="procfs", default="/proc", metavar="DIR", help="%(default)s")
    add("--path.sysfs", dest="sysfs", default="/sys", metavar="DIR", help="%(default)s")
    add("--path.rootfs", dest="rootfs", default="/", metavar="DIR", help="%(default)s")
    add("--path.kernel-log", dest="kernel_log", default="/dev/kmsg", metavar="FILE",
        help="kernel messages, which tell of Xids, too (default %(default)s)")  # fmt: skip
    add("--path.state", dest="state", default="/var/lib/deeprig", metavar="DIR",
        help="benchmark results are in its folder nccl (default %(default)s)")  # fmt: skip
    given = parser.parse_args(words)
    interval = duration("--sample.interval", given.interval)
    if not INTERVALS[0] <= interval <= INTERVALS[1]:
        least, most = INTERVALS
        raise ConfigurationError(
            f"--sample.interval: {given.interval} is not {least:g}s to {most:g}s"
        )
    config = config_file(given.config)
    return Settings(
        addresses=tuple(address(word) for word in given.addresses or [DEFAULT_ADDRESS]),
        telemetry_path=telemetry_path(given.telemetry_path),
        web_config=Path(given.web_config) if given.web_config else None,
        expectations=expectations.load(config),
        host_names=(*sorted(hostnames.own_names()), *hostnames.configured_names(config)),
        interval=interval,
        # Half an interval at most: the others' readings wait for it once, and stay fresh.
        nvml_deadline=min(duration("--nvml.deadline", given.deadline), interval / 2),
        pcie_throughput=given.throughput,
        procfs=given.procfs,
        sysfs=given.sysfs,
        rootfs=given.rootfs,
        kernel_log=given.kernel_log,
        state_directory=given.state,
    )


def config_file(given: str | None) -> Path | None:
    """The file that was named, which must be there, or the usual one, which need not."""
    if given:
        return Path(given)
    usual = Path(DEFAULT_CONFIG)
    return usual if usual.exists() else None


def address(word: str) -> tuple[str, int]:
    """HOST:PORT, [IPv6]:PORT, or :PORT for every address of the machine.

    >>> address("[::1]:10390")
    ('::1', 10390)
    """
    host, colon, port = word.rpartition(":")
    where = f"--web.listen-address: {word!r}"
    if not colon or not PORT.fullmatch(port) or int(port) > 65535:
        raise ConfigurationError(f"{where} is no ADDRESS:PORT, such as {DEFAULT_ADDRESS}")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ConfigurationError(f"{where}: write an IPv6 address in brackets, [::1]:{port}")
    if host and host != "localhost":
        try:
            ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            raise ConfigurationError(f"{where}: {host!r} is no address of this machine") from None
    return host, int(port)


def duration(flag: str, word: str) -> float:
    """Seconds of 500ms, 5s or 1m."""
    found = DURATION.fullmatch(word)
    if not found or float(found[1]) == 0:
        raise ConfigurationError(f"{flag}: {word!r} is no duration, such as 5s")
    return float(found[1]) * UNITS[found[2]]


def telemetry_path(word: str) -> str:
    """A path of its own."""
    taken = word == "/" or any(word.startswith(path) for path in TAKEN[1:])
    if not PLAIN_PATH.fullmatch(word) or taken:
        raise ConfigurationError(
            f"--web.telemetry-path: {word!r} is no free path, such as /metrics"
        )
    return word

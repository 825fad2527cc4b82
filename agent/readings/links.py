"""The PCIe links of all GPUs: what changes between samples, and how often it changed.

pcie.py reads the tree; this module keeps it between samples, so that a sample reads only what can
change: width, speed and error counters. Speeds are in transfers per second, Prometheus' base unit.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from agent.readings import pcie, rates, sharing
from agent.readings.sharing import Passage

LIST_AGAIN_SAMPLES = 60  # then the tree is read again, even if the bus looks the same


@dataclass(frozen=True)
class PortReading:
    """A PCIe device on the path of a GPU. Widths in lanes, speeds in transfers per second.

    changes: of the width, or of the speed under load, since the agent started. aer: errors since
    boot by severity (correctable, nonfatal, fatal); None if the kernel does not count them.
    """

    address: str
    kind: str
    parent: str
    vendor_id: str
    device_id: str
    current_width: int | None
    max_width: int | None
    current_speed: float | None
    max_speed: float | None
    answers: bool
    changes: int = 0
    aer: Mapping[str, int] | None = None


@dataclass(frozen=True)
class PciePath:
    """The path from a GPU to its root port: its narrowest link, and what is expected of it.

    devices: addresses, root port first. under_load: whether the GPU has worked for some seconds, so
    that its speed means something. loaded_speed: the last one seen under load.
    """

    address: str
    devices: tuple[str, ...]
    device_id: str = ""
    width: int | None = None
    max_width: int | None = None
    speed: float | None = None
    max_speed: float | None = None
    expected_width: int | None = None
    expected_width_from: str = ""
    expected_speed: float | None = None
    expected_speed_from: str = ""
    under_load: bool = False
    loaded_speed: float | None = None
    loaded_at: float | None = None

    @property
    def bandwidth(self) -> float | None:
        """Bytes per second in one direction at the path's best speed, after encoding."""
        return rates.bandwidth(self.width, self.max_speed)


class LinkReader:
    """Reads the links above every NVIDIA GPU. Not thread-safe."""

    def __init__(self, sysfs: str = "/sys") -> None:
        self._sysfs = sysfs
        self._gpus: list[pcie.PcieGpu] = []
        self._listed: set[str] = set()
        self._age = LIST_AGAIN_SAMPLES
        self._changes: dict[str, int] = {}
        self._before: dict[str, tuple[int | None, float | None, bool]] = {}
        self._errors: dict[str, tuple[pcie.Aer | None, Mapping[str, int] | None]] = {}

    def read(
        self, under_load: Collection[str] = ()
    ) -> tuple[list[pcie.PcieGpu], tuple[PortReading, ...]]:
        """Return the GPUs, and every device on their paths once.

        under_load: addresses of GPUs that work.
        """
        listed = set(pcie.list_devices(self._sysfs))
        self._age += 1
        if listed != self._listed or self._age >= LIST_AGAIN_SAMPLES:
            self._gpus = pcie.read_gpus(self._sysfs)
            self._listed, self._age = listed, 0
        busy = {
            port.address for gpu in self._gpus if gpu.address in under_load for port in gpu.path
        }
        ports: dict[str, PortReading] = {}
        for gpu in self._gpus:
            parent = ""
            for port in gpu.path:
                if port.address not in ports:
                    is_busy = port.address in busy
                    ports[port.address] = self._read_port(port, parent, is_busy)
                parent = port.address
        return self._gpus, tuple(ports.values())

    def _read_port(self, port: pcie.PciePort, parent: str, is_busy: bool) -> PortReading:
        folder = f"{self._sysfs}/bus/pci/devices/{port.address}"
        width, speed, answers = pcie.read_current(folder)
        self._note_change(port.address, width, speed, is_busy)
        return PortReading(
            address=port.address,
            kind=port.kind,
            parent=parent,
            vendor_id=port.vendor_id,
            device_id=port.device_id,
            current_width=width,
            max_width=port.link.max_width,
            current_speed=speed and speed * 1e9,
            max_speed=port.link.max_speed_gts and port.link.max_speed_gts * 1e9,
            answers=answers,
            changes=self._changes.get(port.address, 0),
            aer=self._sum_errors(port.address, pcie.read_aer(folder)),
        )

    def _sum_errors(self, address: str, aer: pcie.Aer | None) -> Mapping[str, int] | None:
        """Sum the counters only when one has changed; on a healthy rig they never do."""
        before = self._errors.get(address)
        if before is None or before[0] != aer:
            before = self._errors[address] = (aer, aer.totals if aer is not None else None)
        return before[1]

    def _note_change(
        self, address: str, width: int | None, speed: float | None, is_busy: bool
    ) -> None:
        """Count a change of the width, or of the speed under load: at idle it changes by itself."""
        if width is None:  # the device does not answer
            return
        before = self._before.get(address)
        self._before[address] = (width, speed, is_busy)
        if before is None:
            return
        has_other_speed = is_busy and before[2] and speed != before[1]
        if width != before[0] or has_other_speed:
            self._changes[address] = self._changes.get(address, 0) + 1


def build_path(gpu: pcie.PcieGpu, ports: Mapping[str, PortReading]) -> PciePath:
    """Return the path of a GPU. Width and speed are unknown if one of its devices is silent."""
    devices = [ports[port.address] for port in gpu.path]
    is_silent = not all(port.answers for port in devices)
    return PciePath(
        address=gpu.address,
        devices=tuple(port.address for port in devices),
        device_id=gpu.device_id,
        width=None if is_silent else pcie.find_least(port.current_width for port in devices),
        max_width=pcie.find_least(port.max_width for port in devices),
        speed=None if is_silent else pcie.find_least(port.current_speed for port in devices),
        max_speed=pcie.find_least(port.max_speed for port in devices),
    )


def find_slowest_passage(paths: Sequence[PciePath], ports: Iterable[PortReading]) -> Passage:
    """Return the slowest place of the paths when all of their GPUs move data at once."""
    passages = {
        port.address: Passage(port.address, port.current_width, port.max_speed, port.vendor_id)
        for port in ports
    }
    links = {path.address: Passage(path.address, path.width, path.max_speed) for path in paths}
    routes = {path.address: [passages[device] for device in path.devices] for path in paths}
    return sharing.find_slowest(links, routes)

"""The PCIe links of all GPUs, read again and again: what changes, and how often it changed.

The tree itself is read by readings/pcie.py; here it is kept between samples, so that a sample reads
only what can change: width, speed and error counters. Speeds are in transfers per second, as
Prometheus' base units want it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from agent.readings import pcie, rates, sharing
from agent.readings.sharing import Passage

LISTED_ANEW = 60  # samples after which the tree is read whole even if the bus looks the same


@dataclass(frozen=True)
class PortReading:
    """A PCIe device on the way to a GPU. Widths in lanes, speeds in transfers per second.

    changes: of width, or of speed under load, since the agent started. aer: errors since boot by
    severity (correctable, nonfatal, fatal), None where the kernel keeps no count.
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
class Path:
    """A GPU's way to its root port: what of it counts, and what it should be.

    devices: addresses, root port first. under_load: whether the GPU has been at work for some
    seconds, so that its speed means something. loaded_speed: the last one seen under load.
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
    """Reads the links above every NVIDIA GPU. Not for several threads."""

    def __init__(self, sysfs: str = "/sys") -> None:
        self._sysfs = sysfs
        self._gpus: list[pcie.Gpu] = []
        self._listed: set[str] = set()
        self._age = LISTED_ANEW
        self._changes: dict[str, int] = {}
        self._before: dict[str, tuple[int | None, float | None, bool]] = {}
        self._errors: dict[str, tuple[pcie.Aer | None, Mapping[str, int] | None]] = {}

    def read(
        self, under_load: Collection[str] = ()
    ) -> tuple[list[pcie.Gpu], tuple[PortReading, ...]]:
        """The GPUs, and every device on their ways once; under_load: addresses of GPUs at work."""
        listed = set(pcie.list_devices(self._sysfs))
        self._age += 1
        if listed != self._listed or self._age >= LISTED_ANEW:
            self._gpus = pcie.read_gpus(self._sysfs)
            self._listed, self._age = listed, 0
        busy = {port.address for gpu in self._gpus if gpu.address in under_load
                for port in gpu.path}  # fmt: skip
        ports: dict[str, PortReading] = {}
        for gpu in self._gpus:
            parent = ""
            for port in gpu.path:
                if port.address not in ports:
                    ports[port.address] = self._read_port(port, parent, port.address in busy)
                parent = port.address
        return self._gpus, tuple(ports.values())

    def _read_port(self, port: pcie.Port, parent: str, busy: bool) -> PortReading:
        folder = f"{self._sysfs}/bus/pci/devices/{port.address}"
        width, speed, answers = pcie.read_current(folder)
        self._note_change(port.address, width, speed, busy)
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
            aer=self._totals(port.address, pcie.read_aer(folder)),
        )

    def _totals(self, address: str, aer: pcie.Aer | None) -> Mapping[str, int] | None:
        """Summed up only when something changed, which on a healthy rig is never."""
        before = self._errors.get(address)
        if before is None or before[0] != aer:
            before = self._errors[address] = (aer, aer.totals if aer is not None else None)
        return before[1]

    def _note_change(
        self, address: str, width: int | None, speed: float | None, busy: bool
    ) -> None:
        """Width never changes by itself; speed does at idle, so only under load it counts."""
        if width is None:  # it does not answer: no link to compare
            return
        before = self._before.get(address)
        self._before[address] = (width, speed, busy)
        if before is None:
            return
        slower = busy and before[2] and speed != before[1]
        if width != before[0] or slower:
            self._changes[address] = self._changes.get(address, 0) + 1


def path_of(gpu: pcie.Gpu, ports: Mapping[str, PortReading]) -> Path:
    """What of a GPU's path counts now; a device that does not answer leaves it unknown."""
    way = [ports[port.address] for port in gpu.path]
    silent = not all(port.answers for port in way)
    return Path(
        address=gpu.address,
        devices=tuple(port.address for port in way),
        device_id=gpu.device_id,
        width=None if silent else pcie.narrowest(port.current_width for port in way),
        max_width=pcie.narrowest(port.max_width for port in way),
        speed=None if silent else pcie.narrowest(port.current_speed for port in way),
        max_speed=pcie.narrowest(port.max_speed for port in way),
    )


def slowest_of(paths: Sequence[Path], ports: Iterable[PortReading]) -> Passage:
    """The slowest of GPUs' paths, when all of these GPUs move data at once."""
    known = {
        port.address: Passage(port.address, port.current_width, port.max_speed, port.vendor_id)
        for port in ports
    }
    own = {path.address: Passage(path.address, path.width, path.max_speed) for path in paths}
    ways = {path.address: [known[one] for one in path.devices] for path in paths}
    return sharing.slowest(own, ways)

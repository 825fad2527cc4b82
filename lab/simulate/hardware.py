"""A rig's hardware (board, CPU, GPUs, BIOS profiles), described by a file of simulate/hardware."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypedDict

import yaml

from lab.errors import LabError

FOLDER = Path(__file__).parent / "hardware"
MIB = 1 << 20
LOW_WINDOW = 0xA000_0000  # where a BIOS puts memory windows; with Above 4G decoding, above 4 GiB


@dataclass(frozen=True)
class LabLink:
    """A PCIe link: generation and width.

    >>> LabLink.parse("3x16")
    LabLink(gen=3, width=16)
    """

    gen: int
    width: int

    @classmethod
    def parse(cls, text: str) -> LabLink:
        """Read GENxWIDTH."""
        gen, _, width = text.partition("x")
        return cls(int(gen), int(width))


@dataclass(frozen=True)
class Function:
    """One PCI function: its IDs, its links, and the bridge above it."""

    at: str
    id: str
    class_: str
    under: str = ""
    bus: str = ""
    driver: str = ""
    revision: str = "00"
    subsystem: str = "1849:ffff"
    link: LabLink | None = None
    max_link: LabLink | None = None
    port: str = "root"
    bars: tuple[int, ...] = ()
    window: int = LOW_WINDOW

    @property
    def address(self) -> str:
        """The address with its domain, as in sysfs."""
        return f"0000:{self.at}"

    @property
    def bridge(self) -> bool:
        """Whether it is a bridge."""
        return bool(self.bus)


#: The processor, by the names of /proc/cpuinfo where they are the same.
CpuModel = TypedDict(
    "CpuModel",
    {
        "vendor_id": str,
        "cpu family": str,
        "model": str,
        "model name": str,
        "stepping": str,
        "cores": int,
        "threads": int,
        "mhz": int,
        "cache": str,
        "flags": str,
    },
)


class LabCardModel(TypedDict):
    """The model of all cards. MiB, watts, MHz, °C; idle and busy: clocks, temperature, fan."""

    name: str
    id: str
    audio: str
    subsystem: str
    revision: str
    vbios: str
    compute: float
    memory_mib: int
    reserved_mib: int
    power: dict[str, int]
    max_link: str
    clocks: dict[str, int]
    idle: dict[str, int]
    busy: dict[str, int]
    limits: dict[str, int]
    cores: int
    bars: list[int]


class _Slots(TypedDict):
    functions: list[dict[str, Any]]
    gpus: list[dict[str, str]]


class BiosProfile(_Slots, total=False):
    """What a BIOS profile sets up: its PCI functions, the slot of each card.

    window: where memory windows begin, if not below 4 GiB.
    """

    window: int


@dataclass(frozen=True)
class Hardware:
    """The hardware of a rig, read from its file."""

    board: dict[str, str]
    cpu: CpuModel
    memory_kib: int
    gpu: LabCardModel
    functions: list[dict[str, Any]]
    profiles: dict[str, BiosProfile]
    default_profile: str
    name: str = field(default="seed")

    @classmethod
    def load(cls, name: str = "seed") -> Hardware:
        """Read lab/simulate/hardware/NAME.yml."""
        file = FOLDER / f"{name}.yml"
        if not file.is_file():
            names = ", ".join(sorted(path.stem for path in FOLDER.glob("*.yml")))
            raise LabError(f"No hardware is called {name}.", f"There is: {names}.")
        return cls(**yaml.safe_load(file.read_text()), name=name)

    def profile(self, name: str) -> BiosProfile:
        """Return one BIOS profile."""
        if name not in self.profiles:
            names = ", ".join(self.profiles)
            raise LabError(f"This BIOS has no profile {name}.", f"It has: {names}.")
        return self.profiles[name]

    def tree(self, profile: str, gpus: list[LabGpu] | None = None) -> list[Function]:
        """List every PCI function as the BIOS sets it up, by default with all GPUs."""
        rows = [*self.functions, *self.profile(profile)["functions"]]
        functions = [_function(row) for row in rows]
        for seat in self.gpus(profile) if gpus is None else gpus:
            functions += [seat.card, seat.audio]
        return sorted(functions, key=lambda function: (function.under != "", function.at))

    def gpus(self, profile: str) -> list[LabGpu]:
        """List the GPUs in the driver's order."""
        seats = sorted(self.profile(profile)["gpus"], key=lambda seat: str(seat["at"]))
        window = int(self.profile(profile).get("window", LOW_WINDOW))
        return [
            LabGpu(
                index,
                self.gpu,
                str(seat["at"]),
                str(seat["under"]),
                LabLink.parse(seat["link"]),
                window,
            )
            for index, seat in enumerate(seats)
        ]


@dataclass(frozen=True)
class LabGpu:
    """One card in its slot."""

    index: int
    model: LabCardModel
    at: str
    under: str
    link: LabLink
    window: int = LOW_WINDOW

    @property
    def address(self) -> str:
        """The address with its domain."""
        return f"0000:{self.at}"

    @cached_property
    def card(self) -> Function:
        """Its graphics function."""
        return self._function("0", self.model["id"], "030000", tuple(self.model["bars"]))

    @property
    def audio(self) -> Function:
        """Its sound function."""
        return self._function("1", self.model["audio"], "040300", (), driver="snd_hda_intel")

    def uuid(self, rig: str) -> str:
        """Return the card's UUID, which it keeps in any slot."""
        digits = hashlib.sha256(f"{rig} {self.index}".encode()).hexdigest()
        parts = digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:32]
        return "GPU-" + "-".join(parts)

    def _function(
        self, number: str, id_: str, class_: str, bars: tuple[int, ...], driver: str = ""
    ) -> Function:
        return Function(
            at=f"{self.at[:-1]}{number}",
            id=id_,
            class_=class_,
            under=self.under,
            driver=driver,
            revision=self.model["revision"],
            subsystem=self.model["subsystem"],
            link=self.link,
            max_link=LabLink.parse(self.model["max_link"]),
            bars=bars,
            window=self.window,
        )


def _function(row: dict[str, Any]) -> Function:
    values = dict(row)
    link, most = values.pop("link", None), values.pop("max", None)
    values["class_"] = values.pop("class")
    if "bus" in values:
        values.setdefault("driver", "pcieport")
    return Function(
        **values,
        link=LabLink.parse(link) if link else None,
        max_link=LabLink.parse(most) if most else None,
    )

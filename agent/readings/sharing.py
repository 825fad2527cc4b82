"""What is left of a link for each GPU, when all GPUs that pass it move data at once.

A collective's ring takes each GPU's data in and out of the processor's memory at the same time, so
a link above several of them is divided: a switch's, a splitter card's, and a chipset's. Standard
library only: the operator's side counts the same.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from agent.readings import rates

INTEL = "8086"
#: Functions of the root bus that are an Intel chipset's; 00:01 and 00:06 are the processor's own
#: (Intel's datasheets of the 6 to 700 series chipsets).
CHIPSET_PORT = re.compile(r"[0-9a-f]{4,}:00:1[bcd]\.[0-7]")
#: Its link to the processor, DMI, is no PCIe device. It is as fast as the chipset's own ports (DMI
#: 2 beside PCIe 2.0, DMI 3 beside 3.0) and has four lanes, in a few late chipsets eight: the least
#: is taken. AMD's chipsets are PCIe switches, and seen as such.
DMI_LANES = 4
DMI = "the chipset's link to the processor"


@dataclass(frozen=True)
class Passage:
    """A place on GPUs' ways. width: lanes; speed: transfers per second, its best; None: unknown.

    address: of the device, or DMI. sharers: GPUs whose traffic passes it.
    """

    address: str
    width: int | None
    speed: float | None
    vendor_id: str = ""
    sharers: int = 1

    @property
    def bandwidth(self) -> float:
        """Bytes per second of one sharer, as NCCL counts links; 0 where that is not known."""
        return rates.nccl_bandwidth(self.width, self.speed) / self.sharers

    @property
    def place(self) -> str:
        """Where it is, and with how many it is shared."""
        return self.address + (f", shared by {self.sharers} GPUs" if self.sharers > 1 else "")


def tightest(
    own: Mapping[str, Passage], ways: Mapping[str, Sequence[Passage]]
) -> dict[str, Passage]:
    """What bounds each GPU when all of them work: its own narrowest link, or one that it shares.

    own: by GPU, without regard to others. ways: by GPU its devices, root port first.

    >>> above = Passage("0000:00:01.0", 4, 8e9)
    >>> own = {name: Passage(name, 4, 8e9) for name in ("0000:02:00.0", "0000:03:00.0")}
    >>> found = tightest(own, {name: [above, link] for name, link in own.items()})
    >>> found["0000:02:00.0"].sharers, found["0000:02:00.0"].bandwidth / 1e9
    (2, 1.5)
    """
    dmi = _dmi(way[0] for way in ways.values() if way)
    whole = {
        name: [dmi, *way] if way and _of_chipset(way[0]) else list(way)
        for name, way in ways.items()
    }
    through = Counter(place.address for way in whole.values() for place in way)
    found = {}
    for name, link in own.items():
        shared = (
            Passage(place.address, place.width, place.speed, place.vendor_id, sharers)
            for place in whole[name]
            if (sharers := through[place.address]) > 1 and place.bandwidth
        )
        found[name] = min([link, *shared], key=lambda place: place.bandwidth)
    return found


def slowest(own: Mapping[str, Passage], ways: Mapping[str, Sequence[Passage]]) -> Passage:
    """The one of `tightest` that all of a collective's GPUs wait for."""
    return min(tightest(own, ways).values(), key=lambda place: place.bandwidth)


def _of_chipset(port: Passage) -> bool:
    return port.vendor_id == INTEL and CHIPSET_PORT.fullmatch(port.address) is not None


def _dmi(ports: Iterable[Passage]) -> Passage:
    speeds = [port.speed for port in ports if _of_chipset(port) and port.speed]
    return Passage(DMI, DMI_LANES, max(speeds, default=None))

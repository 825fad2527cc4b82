"""What is left of a link for each GPU when all GPUs that use it move data at once.

A collective's ring moves each GPU's data in and out of the processor's memory at the same time, so
a link above several GPUs is divided: one of a switch, a splitter card or a chipset. Standard
library only: the operator's side counts in the same way.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from agent.readings import rates

INTEL = "8086"
#: Functions of the root bus that belong to an Intel chipset; 00:01 and 00:06 are the processor's
#: (Intel's datasheets of the 6 to 700 series chipsets).
CHIPSET_PORT = re.compile(r"[0-9a-f]{4,}:00:1[bcd]\.[0-7]")
#: The chipset's link to the processor, DMI, is not a PCIe device. It is as fast as the chipset's
#: ports (DMI 2 with PCIe 2.0, DMI 3 with 3.0) and has four lanes, in a few late chipsets eight: the
#: smaller number is assumed. AMD's chipsets are PCIe switches and are seen as such.
DMI_LANES = 4
DMI = "the chipset's link to the processor"


@dataclass(frozen=True)
class Passage:
    """A place that data of GPUs passes. width: lanes; speed: its best, in transfers per second.

    address: of the device, or DMI. sharers: the GPUs whose data passes it. None is unknown.
    """

    address: str
    width: int | None
    speed: float | None
    vendor_id: str = ""
    sharers: int = 1

    @property
    def bandwidth(self) -> float:
        """Bytes per second for each sharer, as NCCL counts links; 0 if unknown."""
        return rates.nccl_bandwidth(self.width, self.speed) / self.sharers

    @property
    def place(self) -> str:
        """The address, and how many GPUs share it."""
        return self.address + (f", shared by {self.sharers} GPUs" if self.sharers > 1 else "")


def find_bottlenecks(
    links: Mapping[str, Passage], routes: Mapping[str, Sequence[Passage]]
) -> dict[str, Passage]:
    """Return what limits each GPU when all of them work: its narrowest link, or a shared one.

    links: the narrowest link of each GPU's path by itself. routes: the devices of each GPU's path,
    root port first.

    >>> above = Passage("0000:00:01.0", 4, 8e9)
    >>> links = {name: Passage(name, 4, 8e9) for name in ("0000:02:00.0", "0000:03:00.0")}
    >>> found = find_bottlenecks(links, {name: [above, link] for name, link in links.items()})
    >>> found["0000:02:00.0"].sharers, found["0000:02:00.0"].bandwidth / 1e9
    (2, 1.5)
    """
    dmi = _build_dmi(route[0] for route in routes.values() if route)
    whole = {
        name: [dmi, *route] if route and _is_of_chipset(route[0]) else list(route)
        for name, route in routes.items()
    }
    sharers = Counter(passage.address for route in whole.values() for passage in route)
    bottlenecks = {}
    for name, link in links.items():
        shared = (
            Passage(passage.address, passage.width, passage.speed, passage.vendor_id, count)
            for passage in whole[name]
            if (count := sharers[passage.address]) > 1 and passage.bandwidth
        )
        bottlenecks[name] = min([link, *shared], key=lambda passage: passage.bandwidth)
    return bottlenecks


def find_slowest(links: Mapping[str, Passage], routes: Mapping[str, Sequence[Passage]]) -> Passage:
    """Return the bottleneck that all GPUs of a collective wait for. See find_bottlenecks."""
    return min(find_bottlenecks(links, routes).values(), key=lambda passage: passage.bandwidth)


def _is_of_chipset(port: Passage) -> bool:
    return port.vendor_id == INTEL and CHIPSET_PORT.fullmatch(port.address) is not None


def _build_dmi(ports: Iterable[Passage]) -> Passage:
    speeds = [port.speed for port in ports if _is_of_chipset(port) and port.speed]
    return Passage(DMI, DMI_LANES, max(speeds, default=None))

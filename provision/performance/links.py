"""PCIe links in words, and what they carry: the figures are those of agent.readings.rates."""

from __future__ import annotations

import re
from dataclasses import dataclass

from agent.readings import rates
from provision.errors import DeeprigError

WIDTHS = (1, 2, 4, 8, 16)
_WORDS = re.compile(r"(?:gen|pcie)?\s*([1-6])(?:\.0)?\s*x\s*(\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class Link:
    """A GPU's narrowest link on its way to the processor.

    generation: 1 to 6. width: lanes. sharers: GPUs whose traffic passes it, this one included.
    """

    generation: int
    width: int
    sharers: int = 1

    def __str__(self) -> str:
        shared = f" shared by {self.sharers}" if self.sharers > 1 else ""
        return f"Gen{self.generation} x{self.width}{shared}"

    @property
    def bandwidth(self) -> float:
        """Bytes per second in one direction that NCCL counts it for, of one sharer."""
        speed = rates.GENERATIONS[self.generation]
        return rates.nccl_bandwidth(self.width, speed) / self.sharers

    @property
    def copy_bandwidth(self) -> float:
        """Bytes per second that a copy between host and GPU reaches."""
        carried = rates.bandwidth(self.width, rates.GENERATIONS[self.generation]) or 0.0
        return carried * rates.COPY_SHARE / self.sharers


def parse(text: str) -> list[Link]:
    """Links as --links has them: `gen2x1,gen3x16`, or one a count: `3x gen3x4`.

    >>> [str(link) for link in parse("gen2x1, Gen3 x16")]
    ['Gen2 x1', 'Gen3 x16']
    >>> len(parse("3x gen4x8"))
    3
    """
    links = []
    for word in text.split(","):
        many = re.fullmatch(r"\s*(?:(\d+)\s*x\s+)?(.*?)\s*", word)
        match = _WORDS.fullmatch(many.group(2)) if many else None
        width = int(match.group(2)) if match else 0
        if not many or not match or width not in WIDTHS:
            raise DeeprigError(
                f"'{word.strip()}' is not a link",
                advice="Write a generation and a width, one a GPU: gen2x1,gen3x4,gen3x16.",
            )
        links += [Link(int(match.group(1)), width)] * int(many.group(1) or 1)
    return links

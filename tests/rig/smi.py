"""One query of nvidia-smi: its values for each GPU, and the reason of missing ones."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

FIELDS = ("name", "memory.total", "persistence_mode", "power.limit", "uuid")
QUERY = f"pci.bus_id,{','.join(FIELDS)}"
COMMAND = ("nvidia-smi", f"--query-gpu={QUERY}", "--format=csv,noheader,nounits")
SECONDS = 15  # in which it answers for many GPUs without persistence mode, too
#: In place of a reading that NVML fails to get, unlike "[N/A]" where a card has none.
ERROR = re.compile(r"unknown error|gpu is lost|requires reset|err!", re.IGNORECASE)
ADDRESS = re.compile(r"[0-9A-Fa-f]{8}:[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}\.[0-7]")


@dataclass(frozen=True)
class Smi:
    """gpus: fields by address, of those that it answers for. problem: why not of all, or of none.

    hangs: it came to no end, as it does where a call to the driver hangs for one GPU.
    """

    gpus: Mapping[str, Mapping[str, str]]
    problem: str = ""
    hangs: bool = False

    def number(self, address: str, field: str) -> float | None:
        """Return a reading as a number; None if it is not one."""
        try:
            return float(self.gpus[address][field])
        except (KeyError, ValueError):
            return None

    def text(self, address: str, field: str) -> str:
        """Return a reading, or the reason why it is missing."""
        return self.gpus.get(address, {}).get(field) or "no answer"

    def explain_failure(self, address: str) -> str:
        """How NVML fails to read the memory's size, which every GPU has that is not lost; or empty.

        The driver keeps the name of a lost GPU.
        """
        size = self.gpus.get(address, {}).get("memory.total", "")
        return f"memory.total: {size}" if ERROR.search(size) else ""


def parse(text: str) -> Smi:
    """Parse the output: a line for each GPU, and messages."""
    gpus, messages = {}, []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) == len(FIELDS) + 1 and ADDRESS.fullmatch(cells[0]):
            # "00000000:08:00.0", and sysfs has four digits of domain.
            gpus[cells[0].lower()[-12:]] = dict(zip(FIELDS, cells[1:], strict=True))
        elif line.strip():
            messages.append(line.strip())
    return Smi(gpus, messages[0] if messages else "" if gpus else "it printed nothing")

"""Parse the XML of `nvidia-smi -q -x`, of any driver since branch 390.

Element names as NVIDIA's nvsmi_device_v*.dtd has them; what a card does not tell is "N/A".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from xml.etree.ElementTree import Element, ParseError  # types only: defusedxml parses  # nosec B405

from defusedxml import DefusedXmlException, ElementTree

MOST_BYTES = 8 << 20  # of 16 GPUs it is a tenth of that


@dataclass(frozen=True)
class Smi:
    """One GPU. Celsius, watts, percent; None for values that the card does not report.

    retired: pages of memory (before Ampere); remapped: rows (since Ampere), by correctable and
    uncorrectable errors; pending: the memory is only right after a reboot; failed: none is left.
    """

    address: str
    name: str = ""
    vbios: str = ""
    celsius: float | None = None
    memory_celsius: float | None = None
    slowdown_celsius: float | None = None
    fan: float | None = None
    busy: float | None = None
    power_limit: float | None = None
    power_default: float | None = None
    retired: int | None = None
    remapped: int | None = None
    uncorrectable: int | None = None
    pending: bool = False
    failed: bool = False


def parse(text: str) -> list[Smi]:
    """Return all GPUs; none for other text (no driver, a GPU that hangs)."""
    if len(text) > MOST_BYTES:
        return []
    try:
        # The document type names a file of NVIDIA's, so it is allowed; entities are not.
        root = ElementTree.fromstring(text, forbid_dtd=False, forbid_entities=True)
    except (ParseError, DefusedXmlException):
        return []
    return [_gpu(node) for node in root.findall("gpu")]


def _gpu(node: Element) -> Smi:
    def number(*paths: str) -> float | None:
        for path in paths:
            match = re.match(r"-?\d{1,9}(?:\.\d{1,9})?", (node.findtext(path) or "").strip())
            if match:
                return float(match.group())
        return None

    def count(*paths: str) -> int | None:
        counts = [value for value in (number(path) for path in paths) if value is not None]
        return int(sum(counts)) if counts else None

    def yes(*paths: str) -> bool:
        return any((node.findtext(path) or "").strip().lower() == "yes" for path in paths)

    return Smi(
        address=_address(node.get("id", "")),
        name=(node.findtext("product_name") or "").strip(),
        vbios=(node.findtext("vbios_version") or "").strip(),
        celsius=number("temperature/gpu_temp"),
        memory_celsius=number("temperature/memory_temp"),
        slowdown_celsius=number("temperature/gpu_temp_slow_threshold"),
        fan=number("fan_speed"),
        busy=number("utilization/gpu_util"),
        # gpu_power_readings since branch 530.
        power_limit=number(
            "gpu_power_readings/current_power_limit",
            "gpu_power_readings/enforced_power_limit",
            "power_readings/power_limit",
        ),
        power_default=number(
            "gpu_power_readings/default_power_limit", "power_readings/default_power_limit"
        ),
        retired=count(
            "retired_pages/multiple_single_bit_retirement/retired_count",
            "retired_pages/double_bit_retirement/retired_count",
        ),
        remapped=count("remapped_rows/remapped_row_corr", "remapped_rows/remapped_row_unc"),
        uncorrectable=count(
            "remapped_rows/remapped_row_unc", "retired_pages/double_bit_retirement/retired_count"
        ),
        pending=yes(
            "remapped_rows/remapped_row_pending",
            "retired_pages/pending_retirement",
            "retired_pages/pending_blacklist",
        ),
        failed=yes("remapped_rows/remapped_row_failure"),
    )


def _address(identifier: str) -> str:
    """Return the address as sysfs has it, of nvidia-smi's with its long domain.

    >>> _address("00000000:0A:00.0")
    '0000:0a:00.0'
    """
    domain, _, rest = identifier.lower().partition(":")
    return f"{domain.lstrip('0').rjust(4, '0')}:{rest}"

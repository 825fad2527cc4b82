"""GPUs by name and by PCI device id: rows of inventory/hardware/gpus.yml, in units of the base."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from provision.errors import DeeprigError, Position, SourceError
from provision.hardware import FOLDER
from provision.hardware.confidence import Confidence, check_source
from provision.inventory import typed_rows, yaml_source

#: What miners' cards of other makers are called.
OTHER_MAKERS = re.compile(r"(amd|ati|intel|radeon|rx|vega|arc)\b", re.IGNORECASE)
MOST = 64  # GPUs, more than any board has slots for


@dataclass(frozen=True)
class Card:
    """A GPU. Bytes, bytes per second, FLOP/s, watts; 0 where the table has no figure.

    generation, lanes: of its PCIe link; generation is 0 where unknown. power_limit: what
    provisioning sets, 0: none.
    architecture: the key of gpu_generations. bfloat16: whether it computes in it.
    memory_type: where it matters for heat (GDDR6X).
    memory_on_back: half of the memory chips sit on the card's back, away from the cooler.
    """

    name: str
    memory_bytes: float
    fp32_flops: float
    fp16_flops: float
    memory_bandwidth: float
    board_power: float
    generation: int = 0
    power_limit: float = 0.0
    architecture: str = ""
    bfloat16: bool = True
    memory_type: str = ""
    memory_on_back: bool = False
    lanes: int = 16
    confidence: Confidence = "A"
    source: str = ""

    @property
    def has_known_speed(self) -> bool:
        """Whether its speed is known."""
        return self.fp32_flops > 0 and self.memory_bandwidth > 0


@dataclass(frozen=True)
class CardModel:
    """A row of gpu_models; its confidence and source are the table's where it has none."""

    name: str
    memory_mib: int
    board_power_watts: float
    fp32_tflops: float = 0.0
    fp16_tflops: float = 0.0
    memory_gbps: float = 0.0
    power_limit_watts: float = 0.0
    memory_type: Literal["", "GDDR6X"] = ""
    memory_on_back: bool = False
    pcie_generation: int = 0
    pcie_lanes: int = 16
    confidence: Literal["", "A", "B", "C"] = ""
    source: str = ""


@dataclass(frozen=True)
class Origin:
    """The source of rows in a table that do not name one."""

    confidence: Confidence
    source: str


@dataclass(frozen=True)
class Chip:
    """A row of gpu_chips: device ids from first to last."""

    chip: str
    generation: str
    first: int
    last: int


@dataclass(frozen=True)
class Generation:
    """A row of gpu_generations."""

    open_modules: Literal["required", "supported", "unsupported"]
    first_branch: int
    last_branch: int
    pcie: int
    bfloat16: bool


def cards(path: Path = FOLDER / "gpus.yml") -> dict[str, Card]:
    """Return all GPUs of the table by PCI device id. Raises SourceError with the place."""
    content = yaml_source.load_yaml(path)
    origin = typed_rows.read_row(
        Origin, content["gpu_models_origin"], content.at("gpu_models_origin")
    )
    check_source(content["gpu_models_origin"], origin.source)
    chip_rows = typed_rows.read_rows(Chip, content, "gpu_chips")
    generations = {
        str(name): typed_rows.read_row(Generation, fields, content["gpu_generations"].at(name))
        for name, fields in content["gpu_generations"].items()
    }
    for fields, chip in zip(content["gpu_chips"], chip_rows, strict=True):
        if chip.generation not in generations:
            raise SourceError(
                f"unknown generation '{chip.generation}'",
                fields.at("generation"),
                typed_rows.suggest_names(chip.generation, generations),
            )
    return {
        str(device): _card(
            str(device), fields, content["gpu_models"].at(device), origin, chip_rows, generations
        )
        for device, fields in content["gpu_models"].items()
    }


def _card(
    device: str,
    fields: Any,
    at: Position,
    origin: Origin,
    chips: list[Chip],
    generations: Mapping[str, Generation],
) -> Card:
    row = typed_rows.read_row(CardModel, fields, at)
    if not re.fullmatch(r"[0-9a-f]{4}", device):
        raise SourceError(
            f"'{device}' is not a PCI device id", at, "Four hexadecimal digits, quoted."
        )
    chip = chip_of(device, chips)
    return Card(
        name=row.name,
        memory_bytes=row.memory_mib * 2.0**20,
        fp32_flops=row.fp32_tflops * 1e12,
        fp16_flops=row.fp16_tflops * 1e12,
        memory_bandwidth=row.memory_gbps * 1e9,
        board_power=row.board_power_watts,
        generation=row.pcie_generation or (generations[chip.generation].pcie if chip else 0),
        power_limit=row.power_limit_watts,
        architecture=chip.generation if chip else "",
        bfloat16=generations[chip.generation].bfloat16 if chip else True,
        memory_type=row.memory_type,
        memory_on_back=row.memory_on_back,
        lanes=row.pcie_lanes,
        confidence=row.confidence or origin.confidence,
        source=row.source or origin.source,
    )


def chips(path: Path = FOLDER / "gpus.yml") -> list[Chip]:
    """Return all rows of gpu_chips. Raises SourceError."""
    return typed_rows.read_rows(Chip, yaml_source.load_yaml(path), "gpu_chips")


def chip_of(device: str, table: Sequence[Chip]) -> Chip | None:
    """Return the chip of a PCI device id (four hexadecimal digits), or None."""
    number = int(device, 16)
    return next((chip for chip in table if chip.first <= number <= chip.last), None)


def card(name: str, table: Mapping[str, Card]) -> Card:
    """Return a GPU by its name ("RTX 3090", "GeForce RTX 3090", "3090") or device id. Raises
    DeeprigError.
    """
    wanted = _plain_name(name)
    for device, candidate in table.items():
        if wanted in (device, _plain_name(candidate.name)):
            return candidate
    numbered = [
        candidate
        for candidate in table.values()
        if wanted == re.sub("^[gr]tx", "", _plain_name(candidate.name))
    ]
    if len({candidate.name for candidate in numbered}) == 1:
        return numbered[0]
    if OTHER_MAKERS.match(name.strip()):
        raise DeeprigError(
            f"'{name}' is not an NVIDIA GPU",
            advice="All of this is for NVIDIA's driver, CUDA and NCCL; leave such cards out.",
        )
    # Without the brand that most of them share, and that few people type.
    names = {candidate.name.removeprefix("GeForce ") for candidate in table.values()}
    raise typed_rows.unknown_name_error(
        "GPU",
        name,
        {short_name for short_name in names if wanted in _abbreviations(short_name)} or names,
    )


def _abbreviations(name: str) -> set[str]:
    """Return the abbreviations of a name: some of its words, in order.

    >>> sorted(_abbreviations("GTX 1060 6GB"))
    ['1060', '10606gb', '6gb', 'gtx', 'gtx1060', 'gtx10606gb']
    """
    words = name.split()
    ends = range(len(words) + 1)
    return {_plain_name("".join(words[start:end])) for start in ends for end in ends[start + 1 :]}


def cards_named(text: str, table: Mapping[str, Card]) -> list[Card]:
    """GPUs as --gpus has them: `3x RTX 3090`, `3x3090`, or names with commas.

    >>> [card.name for card in cards_named("2x RTX 3090, RTX 3080", cards())]
    ['GeForce RTX 3090', 'GeForce RTX 3090', 'GeForce RTX 3080']
    """
    result: list[Card] = []
    for word in text.split(","):
        many = re.fullmatch(r"\s*(?:(\d{1,9})\s*x\s*)?(.*?)\s*", word)
        if not many or not many.group(2):
            raise DeeprigError(f"'{word}' is not a GPU", advice='Write --gpus "3x RTX 3090".')
        count = int(many.group(1) or 1)
        if not 0 < count <= MOST - len(result):
            problem = f"'{word.strip()}': a rig has 1 to {MOST} GPUs"
            raise DeeprigError(problem, advice='Write --gpus "3x RTX 3090".')
        result += [card(many.group(2), table)] * count
    return result


def _plain_name(name: str) -> str:
    """Return a name without its maker and brand, in one case."""
    return re.sub(r"\b(nvidia|geforce)\b|\s+", "", name.lower())

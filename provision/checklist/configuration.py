"""The rig that a checklist is for: its board, processor and cards, and what was seen of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from provision.boundary.documents import AgentPath
from provision.boundary.facts import Gpu, RigFacts
from provision.errors import DeeprigError
from provision.hardware import boards, cards, chipsets, cpus, power
from provision.hardware.boards import Board
from provision.hardware.cards import Card
from provision.hardware.chipsets import Chipset
from provision.hardware.cpus import Cpu


@dataclass(frozen=True)
class RigConfiguration:
    """facts: `ansible_local.deeprig`, None where no rig was looked at. Watts in psus and limits.

    paths: the agent's rows of the PCIe paths, None where it was not asked or does not answer.
    messages: the kernel's log.
    """

    name: str
    board_name: str
    board: Board | None
    chipset: Chipset | None
    cpu_name: str
    cpu: Cpu | None
    cards: tuple[Card, ...]
    limits: tuple[float, ...] = ()
    psus: tuple[float, ...] = ()
    facts: RigFacts | None = None
    paths: Sequence[AgentPath] | None = None
    messages: str = ""

    @property
    def count(self) -> int:
        """How many GPUs there are."""
        return len(self.cards)

    @property
    def gpus(self) -> Sequence[Gpu]:
        """The GPUs' facts."""
        return self.facts["gpus"] if self.facts else ()

    @property
    def wanted(self) -> int:
        """Lanes that every GPU can have at once; 0 where nothing is known.

        The board's row decides where its confidence is more than a claim; else what the processor
        and the chipset's rule allow.
        """
        if self.board and self.board.confidence != "C" and (width := self.board.width(self.count)):
            return width
        return max(
            (
                sorted(split, reverse=True)[self.count - 1]
                for split in self.splits
                if len(split) >= self.count
            ),
            default=0,
        )

    @property
    def split_denied(self) -> bool:
        """Whether the chipset's vendor documents a slot that splits among fewer than these GPUs."""
        if self.chipset is None or self.chipset.confidence != "A" or self.wanted:
            return False
        ways = self.chipset.splits
        return bool(ways) and all(len(split) < self.count for split in ways)

    @property
    def splits(self) -> Sequence[Sequence[int]]:
        """How the processor's lanes can be divided, as far as is known of board and chipset."""
        if self.board and self.board.splits:
            return self.board.splits
        processor = self.cpu.splits if self.cpu else ()
        if self.chipset and self.chipset.splits:
            return [split for split in processor if tuple(split) in self.chipset.splits]
        return processor


def from_facts(
    name: str,
    facts: RigFacts,
    psus: Sequence[float],
    limits: Mapping[str, float],
    messages: str = "",
    paths: Sequence[AgentPath] | None = None,
) -> RigConfiguration:
    """Return the case of a rig. limits: watts by a GPU's address, as provisioning sets them."""
    card_table = cards.cards()
    board_name, row = boards.of_firmware(facts["board"], boards.boards())
    rig_cards = [
        card_table.get(gpu["device_id"]) or _unknown(gpu["device_id"]) for gpu in facts["gpus"]
    ]
    return RigConfiguration(
        name=name,
        board_name=board_name,
        board=row,
        chipset=_chipset(row, board_name),
        cpu_name=facts["cpu"]["model"],
        cpu=cpus.cpu(facts["cpu"]["model"]),
        cards=tuple(rig_cards),
        limits=tuple(
            limits.get(gpu["address"], card.board_power)
            for gpu, card in zip(facts["gpus"], rig_cards, strict=True)
        ),
        psus=tuple(psus),
        facts=facts,
        paths=paths,
        messages=messages,
    )


def from_words(board: str, cpu: str, gpus: str, psus: str) -> RigConfiguration:
    """Return the configuration that the command line describes. Raises DeeprigError."""
    rig_cards = cards.cards_named(gpus, cards.cards()) if gpus else []
    try:
        ratings = [float(word) for word in psus.split(",") if word.strip()]
    except ValueError:
        ratings = [0.0]
    if not all(map(power.is_possible_rating, ratings)):
        raise DeeprigError(f"'{psus}' is not a list of watts", advice="--psus 750,750")
    row = boards.board(board, boards.boards()) if board else None
    return RigConfiguration(
        name=board or "a rig",
        board_name=board,
        board=row,
        chipset=_chipset(row, board),
        cpu_name=cpu,
        cpu=cpus.cpu(cpu) if cpu else None,
        cards=tuple(rig_cards),
        limits=tuple(card.power_limit or card.board_power for card in rig_cards),
        psus=tuple(ratings),
    )


def _chipset(row: Board | None, name: str) -> Chipset | None:
    """By the board's row: a name need not hold it (the Zenith Extreme is an X399)."""
    return chipsets.chipset(row.chipset if row and row.chipset else name)


def _unknown(device_id: str) -> Card:
    return Card(f"NVIDIA {device_id}", 0, 0, 0, 0, 0)

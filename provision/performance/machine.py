"""A rig as the predictions see it: GPUs, their links, board, processor, and what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from agent.readings import rates, sharing
from agent.readings.sharing import Passage
from provision.boundary.facts import Gpu, RigFacts
from provision.errors import DeeprigError
from provision.hardware import boards, cards, cpus
from provision.hardware.boards import Board
from provision.hardware.cards import Card
from provision.hardware.cpus import Cpu
from provision.performance import figures, links, network
from provision.performance.links import Link
from provision.performance.measured import Measurements
from provision.performance.network import Network

#: Which width of each link: the one of now, or the most that both its ends can have.
Widths = Literal["current_width", "max_width"]
NO_DRIVER = "no NVIDIA driver is loaded: the predictions apply after `fab provision`"


@dataclass(frozen=True)
class Machine:
    """cards and links: in the same order. memory_bytes: the host's, 0 where unknown.

    speed: of arithmetic, as a factor of what the GPUs do now. notes: what limits them.
    ports: the widest link that each GPU's path could have; empty where unknown.
    """

    name: str
    cards: tuple[Card, ...]
    links: tuple[Link, ...]
    board_name: str = ""
    board: Board | None = None
    cpu_name: str = ""
    cpu: Cpu | None = None
    memory_bytes: float = 0.0
    p2p: bool = False
    measured: Measurements | None = None
    speed: float = 1.0
    notes: tuple[str, ...] = ()
    ports: tuple[Link, ...] = ()

    @property
    def host_memory(self) -> float:
        """Theoretical bandwidth of the host's memory, bytes per second."""
        return self.cpu.memory_gbps * 1e9 if self.cpu else figures.value("host_memory_unknown")

    @property
    def generation(self) -> int:
        """The PCIe generation that is the rig's own: the processor's, or its fastest link's."""
        rig_generation = (
            self.cpu.generation if self.cpu else max(link.generation for link in self.links)
        )
        return min(rig_generation, self.fastest)

    @property
    def fastest(self) -> int:
        """The generation that every GPU can."""
        return min((card.generation for card in self.cards if card.generation), default=6)

    def with_links(self, others: Sequence[Link]) -> Machine:
        """Return the same rig with other links, as far as its cards can use them."""
        return replace(self, links=_trained_links(others, self.cards))

    def uniform(self, generation: int, width: int) -> Machine:
        """Return the same rig with every GPU on such a link, shared with no other."""
        return self.with_links([Link(generation, width)] * len(self.cards))

    def best(self, count: int) -> list[int]:
        """Return the `count` GPUs to use, in the rig's order: most memory, speed, then link.

        The card with least memory bounds what fits, so links decide among alike ones alone.
        """

        def worth(at: int) -> tuple[float, float, float]:
            card = self.cards[at]
            return card.memory_bytes, card.fp16_flops or card.fp32_flops, self.links[at].bandwidth

        order = sorted(range(len(self.links)), key=worth, reverse=True)
        return sorted(order[:count])


def network_of(rig: Machine, now: Machine, count: int) -> Network:
    """Return the network among `count` GPUs of a rig; `now`: the same rig on the links it has.

    Measured where the links are those that were measured and as many GPUs take part; else derived,
    scaled by what was measured.
    """
    some = [rig.links[at] for at in rig.best(count)]
    derived = network.derive_network(some, rig.host_memory, rig.p2p)
    measured = now.measured.network if now.measured else None
    if measured is None or now.measured is None or count < 2:
        return derived
    if rig.links == now.links and count == now.measured.ranks == len(rig.links):
        return measured
    measured_links = [now.links[at] for at in now.best(min(now.measured.ranks, len(now.links)))]
    return network.scale_network(
        derived, measured, network.derive_network(measured_links, now.host_memory, now.p2p)
    )


def from_words(
    gpus: str, link_words: str, board: str = "", cpu: str = "", p2p: bool = False
) -> Machine:
    """Return the rig that the command line describes. Raises DeeprigError."""
    named = cards.cards_named(gpus, cards.cards())
    processor = cpus.cpu(cpu) if cpu else None
    if link_words:
        gpu_links = links.parse(link_words)
    else:
        generation = processor.generation if processor else 3
        gpu_links = [Link(generation, 16)] * len(named)
    if len(gpu_links) != len(named):
        raise _link_count_error(len(gpu_links), len(named))
    return Machine(
        name="",
        cards=tuple(named),
        links=_trained_links(gpu_links, named),
        board_name=board,
        board=boards.board(board, boards.boards()) if board else None,
        cpu_name=cpu,
        cpu=processor,
        p2p=p2p,
    )


def from_facts(name: str, rig: RigFacts, p2p: bool = False) -> Machine:
    """Return a rig from its facts (`fab facts`). Raises DeeprigError without a usable GPU."""
    card_table = cards.cards()
    if not rig["gpus"]:
        raise DeeprigError(
            "no NVIDIA GPU is on its PCIe bus",
            advice="Look at the risers and their power; `fab facts` shows what the bus has.",
        )
    named, gpu_links, ports = [], [], []
    for gpu in rig["gpus"]:
        if gpu["device_id"] not in card_table:
            raise DeeprigError(
                f"GPU {gpu['address']} has the device id {gpu['device_id']}, which is not in the "
                "table",
                advice="Add its row to inventory/hardware/gpus.yml, or use --gpus.",
            )
        named.append(card_table[gpu["device_id"]])
        gpu_links.append(path_link(gpu, rig["gpus"], "current_width"))
        ports.append(path_link(gpu, rig["gpus"], "max_width"))
    board_name, board = boards.of_firmware(rig["board"], boards.boards())
    return Machine(
        name=name,
        cards=tuple(named),
        links=tuple(gpu_links),
        board_name=board_name,
        board=board,
        cpu_name=rig["cpu"]["model"],
        cpu=cpus.cpu(rig["cpu"]["model"]),
        memory_bytes=rig["memory"]["total_mib"] * 2.0**20,
        p2p=p2p,
        notes=() if rig["driver"]["loaded_version"] else (NO_DRIVER,),
        ports=tuple(ports),
    )


def with_cards(rig: Machine, named: Sequence[Card], own_links: Sequence[Link] | None) -> Machine:
    """Return a rig with other GPUs, on these links or its own. Raises DeeprigError."""
    others = rig.links if own_links is None else own_links
    if len(others) != len(named):
        raise _link_count_error(len(others), len(named))
    return replace(
        rig, cards=tuple(named), links=_trained_links(others, named), ports=(), measured=None
    )


def with_hardware(
    rig: Machine,
    others: Sequence[Link] | None,
    board: str,
    processor: Cpu | None,
    processor_name: str,
) -> Machine:
    """Return a rig with other links, board or processor. Raises DeeprigError."""
    if others is not None and len(others) != len(rig.cards):
        raise _link_count_error(len(others), len(rig.cards))
    return replace(
        rig,
        links=_trained_links(others, rig.cards) if others is not None else rig.links,
        board_name=board or rig.board_name,
        board=boards.board(board, boards.boards()) if board else rig.board,
        cpu_name=processor_name or rig.cpu_name,
        cpu=processor if processor_name else rig.cpu,
    )


def with_measured(rig: Machine, measured: Measurements) -> Machine:
    """Return a rig with its measurements; those of another number of GPUs are ignored."""
    if measured.network is not None and measured.ranks != len(rig.cards):
        note = f"it ran on {measured.ranks} GPUs, and this rig has {len(rig.cards)}: scaled"
        measured = replace(measured, notes=(*measured.notes, note))
    return replace(rig, measured=measured, p2p=rig.p2p or measured.p2p)


def _trained_links(own_links: Sequence[Link], named: Sequence[Card]) -> tuple[Link, ...]:
    """Links as they come up: no faster and no wider than the card's own end."""
    return tuple(
        replace(
            link,
            generation=min(link.generation, card.generation or link.generation),
            width=min(link.width, card.lanes),
        )
        for link, card in zip(own_links, named, strict=True)
    )


def _link_count_error(links_given: int, gpus: int) -> DeeprigError:
    return DeeprigError(
        f"{links_given} links for {gpus} GPUs",
        advice='Name one for each GPU, in their order: --links "gen2x1,gen2x1,gen3x16".',
    )


def path_link(gpu: Gpu, gpus: Sequence[Gpu], widths: Widths) -> Link:
    """Return the slowest place on a GPU's path, counted with the GPUs that share it.

    widths: `current_width` or `max_width`. Its speed is the best that all devices can have: at idle
    the speed of now is lower.
    """
    if not gpu["path_width"] or not gpu["path_speed_max_gts"]:
        raise DeeprigError(
            f"GPU {gpu['address']} does not answer on the PCIe bus",
            advice="Check its riser and power, then run `fab facts` again; or use --links.",
        )
    width = gpu["path_width" if widths == "current_width" else "path_max_width"]
    passage = Passage(gpu["address"], width or gpu["path_width"], gpu["path_speed_max_gts"] * 1e9)
    ways = {other["address"]: _passages(other, widths) for other in gpus}
    place = sharing.find_bottlenecks({gpu["address"]: passage}, ways)[gpu["address"]]
    assert place.width is not None  # what is not known is never the tightest
    assert place.speed is not None
    return Link(generation(place.speed), place.width, place.sharers)


def _passages(gpu: Gpu, widths: Widths) -> list[Passage]:
    """Return the devices on a GPU's way. Speeds are in transfers per second there."""
    return [
        Passage(
            port["address"], port[widths], (port["max_speed_gts"] or 0) * 1e9, port["vendor_id"]
        )
        for port in gpu["path"]
    ]


def generation(speed: float) -> int:
    """Return the generation of a speed in transfers per second.

    >>> generation(8e9)
    3
    """
    return min(rates.GENERATIONS, key=lambda number: abs(rates.GENERATIONS[number] - speed))

"""How long a collective takes: latency, and bytes over the slowest path.

    t = call + steps x hop + factor x volume x S / B

S is the size as nccl-tests counts it, factor the collective's (bus bandwidth over algorithm
bandwidth, nccl-tests, doc/PERFORMANCE.md), B the bus bandwidth. volume is 1 where the backend moves
what the collective has to; gloo's reduce_scatter, for one, moves twice as much.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from provision.performance import figures
from provision.performance.links import Link

FACTORS: dict[str, Callable[[int], float]] = {
    "all_reduce": lambda ranks: 2 * (ranks - 1) / ranks,
    "all_gather": lambda ranks: (ranks - 1) / ranks,
    "reduce_scatter": lambda ranks: (ranks - 1) / ranks,
    "all_to_all": lambda ranks: (ranks - 1) / ranks,
    "broadcast": lambda ranks: 1.0,
    "sendrecv": lambda ranks: 1.0,
}
#: No measurement is more than this over NCCL's figures, which are 0.76 of the wire: P2P copies
#: reach 0.86 of it (2 x RTX 3090 Gen4 x16, 27.12 GB/s), so at most 1.13, and some for timing.
MOST = 1.25
ANY = "any"  # the cost of collectives without a measurement


def factor(collective: str, ranks: int) -> float:
    """Bytes that each rank sends for a byte of a collective's size.

    >>> factor("all_reduce", 4)
    1.5
    """
    return FACTORS[collective](ranks) if ranks > 1 else 0.0


def steps(collective: str, ranks: int) -> int:
    """Ring steps that follow each other."""
    if collective in ("sendrecv", "broadcast"):
        return 1
    return (ranks - 1) * (2 if collective == "all_reduce" else 1)


@dataclass(frozen=True)
class Cost:
    """What one collective costs. Latencies in seconds, bandwidth (bus) in bytes per second.

    origin: derived, measured or scaled (derived, times what a measurement gave on other links).
    """

    call: float
    hop: float
    bandwidth: float
    volume: float = 1.0
    origin: str = "derived"
    because: str = ""

    def seconds(self, collective: str, ranks: int, size_bytes: float) -> float:
        """Of one run among `ranks`."""
        if ranks < 2:
            return 0.0
        wait = self.call + steps(collective, ranks) * self.hop
        return wait + factor(collective, ranks) * self.volume * size_bytes / self.bandwidth


FREE = Cost(0.0, 0.0, float("inf"))  # messages that take no time


@dataclass(frozen=True)
class Network:
    """The links among GPUs in use. costs: by collective, ANY for the rest. pairs: by ranks.

    duplex: messages go both ways between two ranks at once, as PCIe and NCCL have it. gloo's, which
    share a TCP connection, take turns.
    """

    costs: Mapping[str, Cost]
    pairs: Mapping[tuple[int, int], Cost] = field(default_factory=dict)
    duplex: bool = True

    def cost(self, collective: str) -> Cost:
        """Return the cost of a collective."""
        return self.costs.get(collective) or self.costs[ANY]

    def seconds(self, collective: str, ranks: int, size_bytes: float) -> float:
        """Of one run of a collective."""
        return self.cost(collective).seconds(collective, ranks, size_bytes)

    def send(self, sender: int, receiver: int, size_bytes: float) -> float:
        """Of one message between two ranks."""
        cost = self.pairs.get((sender, receiver)) or self.cost("sendrecv")
        return cost.seconds("sendrecv", 2, size_bytes)


def host_ceiling(memory_bandwidth: float, ranks: int) -> float:
    """Bus bandwidth (bytes per second) that the host's memory allows without P2P.

    Every byte between two GPUs is written to it and read again, and all `ranks` send at once.
    """
    return memory_bandwidth * figures.value("host_memory_share") / (2 * ranks)


def derive_network(links: Sequence[Link], host_memory: float, p2p: bool = False) -> Network:
    """Return the network of GPUs on these links; the slowest path bounds a ring.

    host_memory: theoretical bandwidth of the host's memory, bytes per second. p2p: GPUs reach each
    other without it.
    """
    ceiling = float("inf") if p2p else host_ceiling(host_memory, len(links))
    call, hop = figures.value("message_latency"), figures.value("hop_latency")

    def cost(some: Sequence[Link]) -> Cost:
        slowest = min(some, key=lambda link: link.bandwidth)
        if slowest.bandwidth <= ceiling:
            return Cost(call, hop, slowest.bandwidth, because=f"{slowest}, NCCL's figure a lane")
        return Cost(call, hop, ceiling, because="the host's memory, which every byte passes twice")

    pairs = {
        (a, b): cost([links[a], links[b]])
        for a in range(len(links))
        for b in range(len(links))
        if a != b
    }
    return Network({ANY: cost(links)}, pairs)


def scale_network(network: Network, measured: Network, at: Network) -> Network:
    """Return a derived network, corrected by what was measured on the rig's own links.

    Latencies are the measured ones. Bandwidth is multiplied by measured / derived (`at`: what is
    derived for the links that were measured), up to what a link can carry.
    """
    costs = {
        collective: _correct_cost(network.cost(collective), measured_cost, at.cost(collective))
        for collective, measured_cost in measured.costs.items()
    }
    for collective, base in network.costs.items():
        costs.setdefault(collective, base)
    general = costs.get("all_reduce") or costs[ANY]
    costs[ANY] = general if ANY not in measured.costs else costs[ANY]
    every = measured.costs.get("sendrecv") or measured.costs.get(ANY)
    pairs = {}
    for pair, base in network.pairs.items():
        pair_cost = measured.pairs.get(pair) or every
        derived_cost = at.pairs.get(pair) or at.cost("sendrecv")
        pairs[pair] = _correct_cost(base, pair_cost, derived_cost) if pair_cost else base
    return Network(costs, pairs)


def _correct_cost(base: Cost, measured_cost: Cost, derived_cost: Cost) -> Cost:
    """Return a derived cost, corrected by a measured latency and a measured share of bandwidth."""
    ratio = min(measured_cost.bandwidth / derived_cost.bandwidth, MOST)
    return replace(
        base,
        call=measured_cost.call,
        hop=measured_cost.hop,
        bandwidth=base.bandwidth * ratio,
        volume=measured_cost.volume,
        origin="scaled",
        because=f"{base.because}, x {ratio:.2f} as measured on the rig's own links",
    )

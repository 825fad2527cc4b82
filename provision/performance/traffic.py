"""What crosses the links in one step: collectives, sizes as nccl-tests counts them, and how often.

| form | a step and GPU |
|---|---|
| DDP | all gradients, all-reduced in buckets (arXiv 2006.15704) |
| FSDP | every layer gathered twice and reduced once, a microbatch (ZeRO-3, 1910.02054) |
| pipeline | activations to the next stage, their gradients back, a microbatch (2104.04473) |
| tensor | 4 all-reduces of activations a layer and microbatch (Megatron-LM, 1909.08053) |
| + sequence | the same bytes as 4 all-gathers and 4 reduce-scatters (2205.05198) |
| MoE expert | 4 all-to-alls of top_k activations a layer and microbatch (2006.16668) |
| decode | 2 all-reduces of one token's activations a layer |
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from provision.performance.network import factor


@dataclass(frozen=True)
class Transfer:
    """`count` collectives of one kind in a step. overlaps: it runs beside computation."""

    what: str
    collective: str
    ranks: int
    size_bytes: float
    count: float
    overlaps: bool = False

    @property
    def sent(self) -> float:
        """Bytes that one GPU sends."""
        return factor(self.collective, self.ranks) * self.size_bytes * self.count


def sent_bytes(transfers: Iterable[Transfer]) -> float:
    """Bytes that one GPU sends in a step."""
    return sum(transfer.sent for transfer in transfers)


def buckets(sizes: Sequence[float], most: float, first: float) -> list[tuple[float, int]]:
    """DDP's buckets of gradients, in the order that they become ready: (bytes, last gradient).

    A bucket is closed by the gradient that makes it as large as the limit, or larger (PyTorch,
    compute_bucket_assignment_by_size), which is `first` for the first one.

    >>> buckets([3, 3, 3, 3], most=6, first=2)
    [(3.0, 0), (6, 2), (3, 3)]
    """
    made: list[tuple[float, int]] = []
    filled, limit = 0.0, first
    for index, size in enumerate(sizes):
        filled += size
        if filled >= limit:
            made.append((filled, index))
            filled, limit = 0, most
    if filled:
        made.append((filled, len(sizes) - 1))
    return made


def data(gradients: float, ranks: int) -> list[Transfer]:
    """DDP: `gradients` bytes in all."""
    return [Transfer("gradients", "all_reduce", ranks, gradients, 1, overlaps=True)]


def sharded(
    weights: float, gradients: float, ranks: int, microbatches: int, outer: float = 0.0
) -> list[Transfer]:
    """FSDP: `weights` bytes of all layers, `gradients` of what is trained.

    outer: bytes of embedding and head, which stay gathered after the forward pass (fully_shard's
    default for the root).
    """
    return [
        Transfer("weights, forward", "all_gather", ranks, weights + outer, microbatches, True),
        Transfer("weights, backward", "all_gather", ranks, weights, microbatches, True),
        Transfer("gradients", "reduce_scatter", ranks, gradients, microbatches, True),
    ]


def pipeline(activations: float, stages: int, microbatches: int) -> list[Transfer]:
    """Pipeline, of a stage in the middle: `activations` bytes of one microbatch each way."""
    if stages < 2:
        return []
    ways = 1 if stages == 2 else 2  # with two stages, each sends one way only
    return [Transfer("activations", "sendrecv", 2, activations, ways * microbatches, True)]


def tensor(
    activations: float, layers: int, ranks: int, microbatches: int, sequence: bool = False
) -> list[Transfer]:
    """Tensor parallelism: 2 all-reduces forward and 2 backward, of each layer."""
    count = 4 * layers * microbatches
    if not sequence:
        return [Transfer("activations", "all_reduce", ranks, activations, count)]
    return [
        Transfer("activations", "all_gather", ranks, activations, count),
        Transfer("activations", "reduce_scatter", ranks, activations, count),
    ]


def expert(
    activations: float, top_k: int, layers: int, ranks: int, microbatches: int
) -> list[Transfer]:
    """Experts: tokens go there and back, in both passes; `activations`: of this GPU's tokens."""
    count = 4 * layers * microbatches
    return [Transfer("tokens", "all_to_all", ranks, top_k * activations, count)]


def decode(token: float, layers: int, ranks: int) -> list[Transfer]:
    """Return the traffic of one token in tensor-parallel serving. token: bytes, all streams."""
    return [Transfer("activations", "all_reduce", ranks, token, 2 * layers)]

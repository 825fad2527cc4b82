"""Values whose sums every rank can compute exactly, so that results are compared bit by bit.

Whole numbers below a prime, different by rank and by place: a value that went to another place,
came from another rank or was added twice is seen. The prime is chosen so that the sum over all
ranks still is exact in the data type.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

#: Up to here every whole number is exact: two to the bits of the significand.
EXACT = {torch.float32: 2**24, torch.float16: 2**11, torch.bfloat16: 2**8}
PRIMES = (65521, 8191, 1021, 509, 251, 127, 61, 31, 13, 7, 5, 3, 2)


@dataclass(frozen=True)
class Pattern:
    """Values of a run; `seed` differs from repeat to repeat, so that nothing old passes for new."""

    ranks: int
    seed: int
    dtype: torch.dtype
    device: torch.device

    @property
    def prime(self) -> int:
        """The largest whose values, added over all ranks, are exact."""
        most = EXACT[self.dtype] // self.ranks
        return next((prime for prime in PRIMES if prime <= most), 1)

    def values(self, rank: int, start: int, count: int) -> Any:
        """What a rank holds at the places from `start`, of shape (count,)."""
        # In place and in 32 bits where they do: a small GPU has no room for four copies.
        width = torch.int32 if start + count <= torch.iinfo(torch.int32).max else torch.int64
        places = torch.arange(start, start + count, dtype=width, device=self.device)
        places.remainder_(self.prime).mul_(7).add_((rank * 11 + self.seed) % self.prime)
        return places.remainder_(self.prime).to(self.dtype)

    def summed(self, start: int, count: int) -> Any:
        """The sum over all ranks of the values at these places, exact."""
        total = self.values(0, start, count).to(torch.float32)
        for rank in range(1, self.ranks):
            total += self.values(rank, start, count)
        return total.to(self.dtype)


def wrong_values(found: Any, expected: Any) -> int:
    """How many elements differ: nccl-tests' #wrong. NaN differs from everything."""
    return int((found != expected).sum())

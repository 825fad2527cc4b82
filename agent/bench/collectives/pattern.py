"""Values whose sums every rank can compute exactly, so that results can be compared bit by bit.

The values are whole numbers below a prime and differ by rank and position, which reveals a value at
a wrong position, from a wrong rank, or added twice. With the chosen prime the sum over all ranks is
exact in the data type.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

#: Up to this limit every whole number is exact: two to the bits of the significand.
EXACT = {torch.float32: 2**24, torch.float16: 2**11, torch.bfloat16: 2**8}
PRIMES = (65521, 8191, 1021, 509, 251, 127, 61, 31, 13, 7, 5, 3, 2)


@dataclass(frozen=True)
class Pattern:
    """Values of a repeat. seed: differs between repeats, so that old values are detected."""

    ranks: int
    seed: int
    dtype: torch.dtype
    device: torch.device

    @property
    def prime(self) -> int:
        """The largest prime with exact sums over all ranks."""
        most = EXACT[self.dtype] // self.ranks
        return next((prime for prime in PRIMES if prime <= most), 1)

    def compute_values(self, rank: int, start: int, count: int) -> Any:
        """Return a rank's values at positions from `start`, of shape (count,)."""
        # In place, and in 32 bits if they suffice: a small GPU has no room for four copies.
        width = torch.int32 if start + count <= torch.iinfo(torch.int32).max else torch.int64
        places = torch.arange(start, start + count, dtype=width, device=self.device)
        places.remainder_(self.prime).mul_(7).add_((rank * 11 + self.seed) % self.prime)
        return places.remainder_(self.prime).to(self.dtype)

    def compute_sums(self, start: int, count: int) -> Any:
        """Return the exact sum over all ranks of the values at these positions."""
        total = self.compute_values(0, start, count).to(torch.float32)
        for rank in range(1, self.ranks):
            total += self.compute_values(rank, start, count)
        return total.to(self.dtype)


def count_wrong_values(values: Any, expected: Any) -> int:
    """Count the elements that differ, like nccl-tests' #wrong. NaN differs from everything."""
    return int((values != expected).sum())

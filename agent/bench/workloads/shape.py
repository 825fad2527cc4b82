"""The size of a workload's model, without PyTorch."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from agent.bench.errors import UnusableError


@dataclass(frozen=True)
class ModelShape:
    """A decoder-only transformer and its input.

    batch: sequences in a step, of each data-parallel rank, or of all ranks without data
    parallelism. microbatches: parts of the batch in a pipeline. sequence: tokens in a sequence; for
    decode, tokens before the first step. feed_forward: width of the feed-forward network (of each
    expert). experts, top_k: of each MoE layer, and how many of them process a token.
    """

    layers: int = 4
    hidden: int = 128
    feed_forward: int = 512
    heads: int = 4
    sequence: int = 64
    batch: int = 4
    vocabulary: int = 512
    microbatches: int = 4
    experts: int = 6
    top_k: int = 2

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> ModelShape:
        """Return the shape of a job's "shape". Raises UnusableError for an invalid key or value."""
        names = {field.name for field in fields(cls)}
        if unknown := sorted(values.keys() - names):
            raise UnusableError(
                f"a shape has no {', '.join(unknown)}", f"It has {', '.join(sorted(names))}."
            )
        for key, value in values.items():
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise UnusableError(f"{key} of a shape is {value!r}", "It must be 1 or more.")
        return cls(**values)

    @property
    def tokens(self) -> int:
        """Tokens in a batch."""
        return self.batch * self.sequence

    def as_mapping(self) -> dict[str, int]:
        """Return the shape for the document."""
        return asdict(self)

    def must_divide(self, parts: int, *names: str) -> None:
        """Raise UnusableError unless each of these numbers can be split into equal parts."""
        for name in names:
            value = getattr(self, name)
            if value % parts:
                raise UnusableError(
                    f"{name} {value} can't be split among {parts}",
                    f"Choose a multiple of {parts}.",
                )


def split_layers(layers: int, stages: int) -> list[range]:
    """Return the layers of each stage, in order; the first stages have one more if it is uneven.

    >>> split_layers(5, 2)
    [range(0, 3), range(3, 5)]
    """
    share, rest = divmod(layers, stages)
    ends = [stage * share + min(stage, rest) for stage in range(stages + 1)]
    return [range(begin, end) for begin, end in itertools.pairwise(ends)]

"""How a model is laid out over GPUs: which parallelism, in which degrees, and who holds what."""

from __future__ import annotations

from dataclasses import dataclass

from provision.performance.models import LanguageModel

#: The forms of parallelism, as tables show them.
FORMS = {
    "single": "one GPU",
    "ddp": "DDP",
    "fsdp": "FSDP",
    "pipeline": "pipeline",
    "tensor": "tensor",
    "sequence": "sequence",
    "three_d": "3D",
    "expert": "MoE expert",
}


@dataclass(frozen=True)
class Layout:
    """Degrees of parallelism; their product is the number of GPUs in use.

    data: replicas (DDP; FSDP when `sharded`; expert parallelism runs on the same ranks, `expert`).
    """

    form: str
    data: int = 1
    stages: int = 1
    tensor: int = 1
    expert: int = 1
    sharded: bool = False

    @property
    def gpus(self) -> int:
        """How many GPUs take part."""
        return self.data * self.stages * self.tensor


def stages(model: LanguageModel, count: int) -> list[int]:
    """Layers of each pipeline stage, so that the fullest holds as few parameters as can be.

    Embedding and head count as what they hold.

    >>> from provision.performance import models
    >>> stages(models.load()["llama-2-70b"], 3)
    [26, 27, 27]
    """
    layers = [0] * count
    held = [0.0] * count
    held[0] += model.embedding
    held[-1] += model.output
    for _ in range(model.layers):
        least = min(range(count), key=lambda stage: (held[stage], -stage))
        layers[least] += 1
        held[least] += model.layer
    return layers


def experts_held(model: LanguageModel, layout: Layout) -> int:
    """Experts of one layer on the GPU that has most of them; 1 in a dense model."""
    return -(-max(model.experts, 1) // layout.expert)

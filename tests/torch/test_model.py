"""The model of the workloads: how its parameters are created."""

from __future__ import annotations

import torch
from torch import nn

from agent.bench.workloads.comparison import run_unsplit
from agent.bench.workloads.model import (
    Transformer,
    TransformerBlock,
    count_model_parameters,
    count_parameters,
    create_layer,
    make_batch,
)
from agent.bench.workloads.shape import ModelShape

SHAPE = ModelShape(
    layers=3, hidden=16, feed_forward=32, heads=2, batch=4, sequence=8, vocabulary=32
)
META = torch.device("meta")


def test_layers_move_to_the_device_one_at_a_time() -> None:
    """A rig has 4 GB of memory for the models of all its GPUs."""
    made: list[nn.Module] = []

    def layer(shape: ModelShape, number: int) -> nn.Module:
        in_host_memory = [block for block in made if next(block.parameters()).device != META]
        assert in_host_memory == []
        made.append(TransformerBlock(shape))
        return made[-1]

    model = Transformer(SHAPE, layer, device=META, dtype=torch.float16)
    assert len(made) == SHAPE.layers
    places = {(parameter.device, parameter.dtype) for parameter in model.parameters()}
    assert places == {(META, torch.float16)}


def test_partial_model_has_the_values_of_the_whole_model() -> None:
    whole, part = Transformer(SHAPE, create_layer), Transformer(SHAPE, create_layer, [1, 2])
    values = dict(whole.named_parameters())
    for name, parameter in part.named_parameters():
        assert torch.equal(parameter, values[name]), name
    assert part.embedding is None


def test_parameters_are_counted_without_creating_the_model() -> None:
    assert count_model_parameters(SHAPE) == count_parameters(Transformer(SHAPE, create_layer))


def test_microbatches_give_the_result_of_the_whole_batch() -> None:
    tokens, targets = make_batch(SHAPE)
    once = run_unsplit(Transformer(SHAPE, create_layer), [(tokens, targets)])
    pieces = zip(tokens.chunk(4), targets.chunk(4), strict=True)
    cut = run_unsplit(Transformer(SHAPE, create_layer), pieces)
    assert abs(cut.loss - once.loss) < 1e-6
    for name, gradient in once.gradients.items():
        assert torch.allclose(cut.gradients[name], gradient, atol=1e-6), name

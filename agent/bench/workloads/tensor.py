"""tensor: every layer's matrices are split and its results summed: 4 all-reduces a layer.

PyTorch's parallelize_module with ColwiseParallel and RowwiseParallel, as in Megatron-LM:
Shoeybi et al. (arXiv 1909.08053).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor, Partial, Replicate
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    PrepareModuleInput,
    RowwiseParallel,
    parallelize_module,
)

from agent.bench.communicator import Communicator
from agent.bench.entries import Share
from agent.bench.workloads import training
from agent.bench.workloads.model import (
    LayerMaker,
    TransformerBlock,
    compute_loss,
    count_model_parameters,
    create_layer,
)
from agent.bench.workloads.shape import ModelShape
from agent.bench.workloads.sleeping_layers import LayerPace, Sleep, parse_pace


def run(comm: Communicator, options: Mapping[str, Any]) -> Share:
    """Run the workload. Options as in the package.

    Raises UnusableError if heads cannot be split evenly.
    """
    settings = training.WorkloadOptions.parse(comm, options)
    settings.shape.must_divide(comm.size, "heads", "hidden", "feed_forward")
    mesh = init_device_mesh(comm.device.type, (comm.size,))
    split = training.build_model(comm, settings, layer_maker(settings.compute, mesh))
    if settings.is_real:
        for layer in split.layers.values():
            split_layer(layer, mesh)
    ((tokens, targets),) = training.make_batches(comm, settings, [0])

    def step() -> Any:
        loss = compute_loss(split(tokens), targets)
        loss.backward()
        return loss

    return training.train(
        comm,
        settings,
        "tensor",
        parts=split,
        step=step,
        expected=lambda: training.compute_expected(comm, settings, [0], settings.unsplit_layers()),
        tokens=settings.shape.tokens,
        parameters=count_model_parameters(settings.shape),
        compared=lambda name: settings.is_real or not name.startswith("layers."),
    )


def split_layer(layer: nn.Module, mesh: DeviceMesh) -> None:
    """Split a layer like Megatron: heads of the attention, columns of the feed-forward network.

    The attention's input is prepared once for its three projections, so that backward needs one
    all-reduce for it.
    """
    parallelize_module(
        layer,
        mesh,
        {
            "attention": PrepareModuleInput(
                input_layouts=(Replicate(),), desired_input_layouts=(Replicate(),)
            ),
            "attention.query": ColwiseParallel(),
            "attention.key": ColwiseParallel(),
            "attention.value": ColwiseParallel(),
            "attention.out": RowwiseParallel(),
            "feed_forward.up": ColwiseParallel(),
            "feed_forward.down": RowwiseParallel(),
        },
    )


def layer_maker(compute: Any, mesh: DeviceMesh) -> LayerMaker:
    """Return what creates layers: real ones, not split yet, or sleeping ones that are split."""
    pace = parse_pace(compute)
    if pace is None:
        return create_layer
    return lambda shape, number: SleepingSplitLayer(shape, pace, mesh)


class SleepingSplitLayer(nn.Module):
    """Sleeps instead of computing, with the all-reduces of a split layer.

    Attention and feed-forward network are a half each: the gradient of the input is summed, and so
    is the output. The sum divided by the number of ranks is the input.
    """

    def __init__(self, shape: ModelShape, pace: LayerPace, mesh: DeviceMesh) -> None:
        super().__init__()
        block = TransformerBlock(shape)
        self.mesh = mesh
        self.pace = pace.scale(0.5)
        self.halves = nn.ModuleList(
            [
                nn.ParameterList(shard(parameter, mesh) for parameter in half.parameters())
                for half in (block.attention, block.feed_forward)
            ]
        )

    def forward(self, states: Any) -> Any:
        """Map (batch, sequence, hidden) to the same shape."""
        for half in self.halves:
            copied = DTensor.from_local(states, self.mesh, [Replicate()], run_check=False)
            local = copied.to_local(grad_placements=[Partial()])
            slept = Sleep.apply(local, self.pace, *half) / self.mesh.size()
            part = DTensor.from_local(slept, self.mesh, [Partial()], run_check=False)
            states = part.redistribute(placements=[Replicate()]).to_local()
        return states


def shard(parameter: Any, mesh: DeviceMesh) -> nn.Parameter:
    """Return a rank's share of a matrix; rows and columns have the same size."""
    return nn.Parameter(parameter.detach().chunk(mesh.size())[mesh.get_local_rank()].clone())

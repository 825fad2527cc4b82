"""tensor: every layer's matrices are split, and its results summed: 4 all-reduces a layer.

PyTorch's parallelize_module with ColwiseParallel and RowwiseParallel, as Megatron-LM has it:
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
from agent.bench.workloads import training
from agent.bench.workloads.model import (
    LayerMaker,
    TransformerBlock,
    compute_loss,
    count_model_parameters,
    plain_layer,
)
from agent.bench.workloads.shape import ModelShape
from agent.bench.workloads.sleeping_layers import LayerPace, Sleep, parse_pace


def run(comm: Communicator, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as in the package. Raises UnusableError where heads can't be split evenly."""
    setting = training.WorkloadOptions.of(comm, options)
    setting.shape.must_divide(comm.size, "heads", "hidden", "feed_forward")
    mesh = init_device_mesh(comm.device.type, (comm.size,))
    split = training.build_model(comm, setting, layer_maker(setting.compute, mesh))
    if setting.real:
        for layer in split.layers.values():
            split_layer(layer, mesh)
    ((tokens, targets),) = training.batches(comm, setting, [0])

    def step() -> Any:
        loss = compute_loss(split(tokens), targets)
        loss.backward()
        return loss

    return training.train(
        comm, setting, "tensor",
        parts=split,
        step=step,
        expected=lambda: training.expectation(comm, setting, [0], setting.unsplit_layers()),
        tokens=setting.shape.tokens,
        parameters=count_model_parameters(setting.shape),
        compared=lambda name: setting.real or not name.startswith("layers."),
    )  # fmt: skip


def split_layer(layer: nn.Module, mesh: DeviceMesh) -> None:
    """Megatron's two splits: heads of the attention, columns of the feed-forward network.

    The attention's input is prepared once for its three projections, so that backward has one
    all-reduce for it.
    """
    parallelize_module(layer, mesh, {
        "attention": PrepareModuleInput(
            input_layouts=(Replicate(),), desired_input_layouts=(Replicate(),)
        ),
        "attention.query": ColwiseParallel(),
        "attention.key": ColwiseParallel(),
        "attention.value": ColwiseParallel(),
        "attention.out": RowwiseParallel(),
        "feed_forward.up": ColwiseParallel(),
        "feed_forward.down": RowwiseParallel(),
    })  # fmt: skip


def layer_maker(compute: Any, mesh: DeviceMesh) -> LayerMaker:
    """Makes layers that are yet to be split, or that sleep and hold their split already."""
    pace = parse_pace(compute)
    if pace is None:
        return plain_layer
    return lambda shape, number: SleepingSplitLayer(shape, pace, mesh)


class SleepingSplitLayer(nn.Module):
    """Sleeps instead of computing, with the all-reduces of a split layer.

    A half each for attention and feed-forward: what goes in gets its gradient summed, what comes
    out is summed. Divided by the ranks the sum is what went in.
    """

    def __init__(self, shape: ModelShape, pace: LayerPace, mesh: DeviceMesh) -> None:
        super().__init__()
        block = TransformerBlock(shape)
        self.mesh = mesh
        self.pace = pace.part(0.5)
        self.halves = nn.ModuleList([
            nn.ParameterList(shard(one, mesh) for one in half.parameters())
            for half in (block.attention, block.feed_forward)
        ])  # fmt: skip

    def forward(self, states: Any) -> Any:
        """(batch, sequence, hidden) to the same."""
        for half in self.halves:
            copied = DTensor.from_local(states, self.mesh, [Replicate()], run_check=False)
            local = copied.to_local(grad_placements=[Partial()])
            slept = Sleep.apply(local, self.pace, *half) / self.mesh.size()
            part = DTensor.from_local(slept, self.mesh, [Partial()], run_check=False)
            states = part.redistribute(placements=[Replicate()]).to_local()
        return states


def shard(parameter: Any, mesh: DeviceMesh) -> nn.Parameter:
    """A rank's share of a matrix. By rows or columns: the bytes are the same."""
    return nn.Parameter(parameter.detach().chunk(mesh.size())[mesh.get_local_rank()].clone())

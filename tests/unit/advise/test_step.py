"""Computation and messages on one time line, against manual calculation."""

from __future__ import annotations

import pytest

from provision.performance import schedule, step_time
from provision.performance.network import ANY, FREE, Cost, Network
from provision.performance.schedule import Stage
from provision.performance.step_time import Block
from provision.performance.traffic import Transfer

# One byte a second, no latency; an all-reduce of 2 ranks then takes as many seconds as bytes.
WIRE = Network({ANY: Cost(0.0, 0.0, 1.0)})
NONE = Network({ANY: FREE})


def test_bucket_waits_for_its_gradients_and_the_previous_bucket() -> None:
    """Forward 3; backward 2 + 2 + 2, gradients of 3 bytes at 5, 7 and 9: ends 8, 11, 14."""
    blocks = [Block(1, 2, (3,))] * 3
    done = step_time.data_parallel(blocks, 1, 2, WIRE, bucket_bytes=3, first_bucket_bytes=3)
    assert done.seconds == 14
    assert done.compute == 9
    assert done.wire == 9
    assert done.exposed == 5


def test_single_bucket_does_not_overlap() -> None:
    blocks = [Block(1, 2, (3,))] * 3
    done = step_time.data_parallel(blocks, 1, 2, WIRE, bucket_bytes=100, first_bucket_bytes=100)
    assert done.seconds == 9 + 9


def test_slow_backward_hides_the_messages() -> None:
    blocks = [Block(1, 10, (3,))] * 3
    done = step_time.data_parallel(blocks, 1, 2, WIRE, bucket_bytes=3, first_bucket_bytes=3)
    assert done.seconds == 33 + 3  # only the last bucket is seen


def test_accumulated_microbatches_are_reduced_once() -> None:
    blocks = [Block(1, 2, (3,))] * 3
    done = step_time.data_parallel(blocks, 4, 2, WIRE, bucket_bytes=3, first_bucket_bytes=3)
    assert done.seconds == 3 * 9 + 14


def test_optimizer_runs_after_all_messages() -> None:
    done = step_time.data_parallel([Block(1, 2, (3,))], 1, 2, WIRE, optimizer=7)
    assert done.seconds == 3 + 3 + 7
    assert done.exposed == 3


def test_fsdp_gathers_the_next_block_while_one_computes() -> None:
    """Gathers of 2 ranks of 4 bytes take 2, reductions of 4 bytes 2.

    Forward: gather 0-2, compute 2-5, the next gather 2-4, compute 5-8. Backward: the gather of the
    last block again 5-7 (asked for when the computation before it began), compute 8-14; the first
    block's gather 8-10, reduction 14-16, compute 14-20, reduction 20-22.
    """
    blocks = [Block(3, 6, (4,), 4)] * 2
    done = step_time.fully_sharded(blocks, 1, 2, WIRE)
    assert done.compute == 18
    assert done.wire == 12
    assert done.seconds == 22


def test_fsdp_gathers_kept_blocks_once() -> None:
    blocks = [Block(3, 6, (4,), 4, kept=True)] * 2
    assert step_time.fully_sharded(blocks, 1, 2, WIRE).wire == 8
    assert step_time.fully_sharded(blocks, 1, 2, WIRE, overlap=False).seconds == 18 + 8


def test_fsdp_without_overlap_waits_for_every_message() -> None:
    blocks = [Block(3, 6, (4,), 4)] * 2
    assert step_time.fully_sharded(blocks, 1, 2, WIRE, overlap=False).seconds == 18 + 12
    assert step_time.fully_sharded(blocks, 5, 2, WIRE, overlap=False).seconds == 5 * (18 + 12)


def test_fsdp_step_on_a_slow_link_is_the_wire_time() -> None:
    blocks = [Block(0.001, 0.001, (400,), 400)] * 10
    done = step_time.fully_sharded(blocks, 3, 2, WIRE)
    assert done.seconds == pytest.approx(done.wire, rel=0.01)


@pytest.mark.parametrize(("stages", "micro"), [(1, 4), (2, 2), (3, 4), (3, 12), (4, 3)])
def test_pipeline_without_messages_takes_the_bubble(stages: int, micro: int) -> None:
    done = step_time.pipelined([Stage(1, 2)] * stages, micro, 0, NONE)
    assert done.seconds == (micro + stages - 1) * 3
    assert done.compute == micro * 3


def test_slowest_stage_limits_the_pipeline() -> None:
    done = step_time.pipelined([Stage(1, 1), Stage(3, 3), Stage(1, 1)], 50, 0, NONE)
    assert done.seconds == pytest.approx(50 * 6, rel=0.05)


def test_pipeline_stages_wait_for_messages() -> None:
    """One microbatch: forward 1, message 5, forward 1, backward 2, message 5, backward 2."""
    done = step_time.pipelined([Stage(1, 2)] * 2, 1, 5, WIRE)
    assert done.seconds == 1 + 5 + 1 + 2 + 5 + 2


def test_link_is_full_duplex_with_one_message_per_direction() -> None:
    """Ten activations there and ten gradients back, of a second each: the last one comes at 11."""
    end, busy = schedule.one_forward_one_backward([Stage(0, 0)] * 2, 10, lambda a, b: 1.0)
    assert (end, busy) == (11, 10)


def test_every_message_of_a_schedule_is_sent_and_received_once() -> None:
    for micro in (1, 2, 5):
        programs = [schedule.program(at, 3, micro, Stage(1, 1)) for at in range(3)]
        posted = [
            m for program in programs for act in program if act.kind == "post" for m in act.messages
        ]
        assert sorted(posted) == sorted(2 * sorted(set(posted)))
        assert len(set(posted)) == 2 * 2 * micro


def test_tensor_parallelism_does_not_overlap() -> None:
    sent = [Transfer("activations", "all_reduce", 2, 5, 4)]
    done = step_time.serial(10, sent, WIRE)
    assert (done.seconds, done.compute, done.exposed) == (30, 10, 20)


def test_experts_exchange_tokens_twice_in_both_passes() -> None:
    """An all-to-all of 2 ranks of 6 bytes takes 3; four a layer, two layers, two microbatches."""
    blocks = [Block(0, 0), Block(1, 2, (), 1), Block(1, 2, (), 1), Block(0, 0)]
    done = step_time.expert_parallel(blocks, 2, 2, 6, WIRE)
    assert done.compute == 12
    assert done.seconds == 12 + 2 * 2 * 4 * 3

"""Bytes that a GPU sends in a step: the table of the papers, for N = 4, P = 1e9, e = 2, A = 1e6."""

from __future__ import annotations

import pytest

from provision.performance import traffic
from provision.performance.traffic import Transfer

N, P, E, A, LAYERS, MICRO = 4, 1e9, 2, 1e6, 32, 5


@pytest.mark.parametrize(
    ("transfers", "sent"),
    [
        (traffic.data(P * E, N), 2 * (N - 1) / N * P * E),
        (traffic.sharded(P * E, P * E, N, MICRO), 3 * (N - 1) / N * P * E * MICRO),
        (traffic.pipeline(A, N, MICRO), 2 * A * MICRO),
        (traffic.pipeline(A, 2, MICRO), A * MICRO),
        (traffic.pipeline(A, 1, MICRO), 0),
        (traffic.tensor(A, LAYERS, N, MICRO), 8 * (N - 1) / N * A * LAYERS * MICRO),
        (traffic.tensor(A, LAYERS, N, MICRO, sequence=True), 8 * (N - 1) / N * A * LAYERS * MICRO),
        (traffic.expert(A, 2, LAYERS, N, MICRO), 4 * (N - 1) / N * 2 * A * LAYERS * MICRO),
        (traffic.decode(A, LAYERS, N), 2 * LAYERS * 2 * (N - 1) / N * A),
    ],
)
def test_bytes_match_the_published_formulas(transfers: list[Transfer], sent: float) -> None:
    assert traffic.sent_bytes(transfers) == pytest.approx(sent)


def test_only_tensor_and_expert_messages_do_not_overlap() -> None:
    assert all(transfer.overlaps for transfer in traffic.data(P, N) + traffic.sharded(P, P, N, 1))
    assert not any(
        transfer.overlaps
        for transfer in traffic.tensor(A, LAYERS, N, 1) + traffic.expert(A, 2, 1, N, 1)
    )


@pytest.mark.parametrize(
    ("sizes", "most", "first", "made"),
    [
        ([], 6, 2, []),
        ([10], 6, 2, [(10, 0)]),
        ([1, 1, 1], 6, 100, [(3, 2)]),
        ([1, 1, 5, 1, 1], 6, 2, [(2, 1), (6, 3), (1, 4)]),
    ],
)
def test_gradients_are_grouped_into_full_buckets(
    sizes: list[float], most: float, first: float, made: list[tuple[float, int]]
) -> None:
    assert traffic.buckets(sizes, most, first) == made

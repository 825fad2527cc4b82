"""Seconds of a collective: derived from links, fitted to measurements, scaled to other links."""

from __future__ import annotations

import pytest

from provision.errors import DeeprigError
from provision.performance import fit, links, network
from provision.performance.links import Link
from provision.performance.network import ANY, Cost, Network

FAST = 1e12  # of the host's memory: no limit


@pytest.mark.parametrize(
    ("collective", "ranks", "factor"),
    [
        ("all_reduce", 2, 1.0),
        ("all_reduce", 3, 4 / 3),
        ("all_gather", 3, 2 / 3),
        ("reduce_scatter", 3, 2 / 3),
        ("all_to_all", 4, 3 / 4),
        ("broadcast", 3, 1.0),
        ("sendrecv", 2, 1.0),
        ("all_reduce", 1, 0.0),
    ],
)
def test_factors_match_nccl_tests(collective: str, ranks: int, factor: float) -> None:
    assert network.factor(collective, ranks) == pytest.approx(factor)


@pytest.mark.parametrize(
    ("text", "gbps"),
    [
        ("gen2x1", 0.375),
        ("gen3x1", 0.75),
        ("gen3x4", 3),
        ("gen3x8", 6),
        ("gen3x16", 12),
        ("gen4x4", 6),
        ("PCIe 4.0 x16", 24),
    ],
)
def test_link_bandwidth_matches_nccl(text: str, gbps: float) -> None:
    assert links.parse(text)[0].bandwidth == pytest.approx(gbps * 1e9)


@pytest.mark.parametrize("text", ["gen7x1", "gen3x3", "x16", "gen3", "", "gen3x16,,gen3x16"])
def test_invalid_link_is_an_error(text: str) -> None:
    with pytest.raises(DeeprigError, match="is not a link"):
        links.parse(text)


def test_slowest_link_limits_a_ring_but_not_other_pairs() -> None:
    made = network.derive_network(links.parse("gen2x1,gen3x16,gen3x16"), FAST)
    size = 3e9
    assert made.seconds("all_reduce", 3, size) == pytest.approx(4 / 3 * size / 0.375e9, rel=1e-3)
    assert made.send(0, 1, size) == pytest.approx(size / 0.375e9, rel=1e-3)
    assert made.send(1, 2, size) == pytest.approx(size / 12e9, rel=1e-3)


def test_gpus_behind_one_port_share_it() -> None:
    assert Link(3, 16, sharers=4).bandwidth == Link(3, 4).bandwidth


def test_without_p2p_bytes_pass_host_memory_twice() -> None:
    sixteen = links.parse("3x gen4x16")
    through = network.derive_network(sixteen, 42.7e9)
    assert through.cost("all_reduce").bandwidth == pytest.approx(42.7e9 * 0.85 / 6)
    assert "memory" in through.cost("all_reduce").because
    assert network.derive_network(sixteen, 42.7e9, p2p=True).cost("all_reduce").bandwidth == 24e9


def test_small_all_reduce_takes_the_published_24_microseconds() -> None:
    made = network.derive_network(links.parse("gen3x16,gen3x16"), FAST)
    assert made.seconds("all_reduce", 2, 8) == pytest.approx(24e-6, rel=0.01)


def test_one_rank_sends_nothing() -> None:
    assert network.derive_network([Link(3, 1)], FAST).seconds("all_reduce", 1, 1e9) == 0.0


def test_fit_returns_latency_and_bandwidth() -> None:
    points = [(size, 40e-6 + size / 3e9) for size in (8.0, 1e3, 1e6, 1e8)]
    line = fit.line(points)
    assert line is not None
    assert line.latency == pytest.approx(40e-6)
    assert line.bandwidth == pytest.approx(3e9)
    assert line.error < 1e-6


def test_fit_weights_small_and_large_messages_equally() -> None:
    """Large messages are 3 % slower than the line; the fit must not raise the latency for that."""
    points = [(8.0, 40e-6), (1e3, 41e-6), (1e7, 3.4e-3), (1e8, 34.5e-3)]
    line = fit.line(points)
    assert line is not None
    assert line.latency == pytest.approx(40e-6, rel=0.05)
    assert line.error < 0.05


@pytest.mark.parametrize(
    ("points", "latency", "bandwidth"),
    [
        ([(1e6, 1e-3)], 0.0, 1e9),
        ([(1e6, 1e-3), (2e6, 2.2e-3)], 0.0, None),  # a latency below zero is none
    ],
)
def test_a_fit_of_few_points_goes_through_the_origin(
    points: list[tuple[float, float]], latency: float, bandwidth: float | None
) -> None:
    line = fit.line(points)
    assert line is not None
    assert line.latency == latency
    if bandwidth:
        assert line.bandwidth == pytest.approx(bandwidth)


def test_fit_fails_if_times_do_not_grow() -> None:
    assert fit.line([(1e6, 2e-3), (2e6, 1e-3), (4e6, 0.5e-3)]) is None
    assert fit.line([]) is None


def test_measurement_scales_the_derived_cost_of_other_links() -> None:
    x1, x4 = links.parse("2x gen3x1"), links.parse("2x gen3x4")
    measured = Network({"all_reduce": Cost(50e-6, 0.0, 0.6e9, origin="measured")})
    derived_x1, derived_x4 = (network.derive_network(link, FAST) for link in (x1, x4))
    cost = network.scale_network(derived_x4, measured, derived_x1).cost("all_reduce")
    assert cost.bandwidth == pytest.approx(3e9 * 0.6 / 0.75)
    assert cost.call == 50e-6
    assert cost.origin == "scaled"
    assert "x 0.80" in cost.because


def test_scaling_is_limited_by_the_capacity_of_the_link() -> None:
    x1 = links.parse("2x gen3x1")
    measured = Network({ANY: Cost(0.0, 0.0, 9e9)})
    derived = network.derive_network(x1, FAST)
    scaled = network.scale_network(derived, measured, derived)
    assert scaled.cost(ANY).bandwidth == pytest.approx(0.75e9 * network.MOST)


def test_measurement_scales_the_cost_of_pairs() -> None:
    x1, x4 = links.parse("2x gen3x1"), links.parse("2x gen3x4")
    derived_x1, derived_x4 = network.derive_network(x1, FAST), network.derive_network(x4, FAST)
    pair = Cost(30e-6, 0.0, 0.5e9)
    measured = Network({ANY: Cost(50e-6, 0.0, 0.6e9)}, {(0, 1): pair})
    scaled = network.scale_network(derived_x4, measured, derived_x1)
    assert scaled.pairs[0, 1].bandwidth == pytest.approx(3e9 * 0.5 / 0.75)
    assert scaled.pairs[0, 1].call == 30e-6
    assert scaled.pairs[1, 0].bandwidth == pytest.approx(3e9 * 0.6 / 0.75)


def test_volume_multiplies_the_bytes_of_a_collective() -> None:
    cost = Cost(0.0, 0.0, 1e9, volume=2.0)
    assert cost.seconds("reduce_scatter", 2, 1e9) == pytest.approx(1.0)

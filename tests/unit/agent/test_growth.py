"""Growth of counters over a window."""

from __future__ import annotations

import pytest

from agent.sampling.growth import STEPS, CounterGrowth

KEY = ("aer", "0000:04:00.0", "correctable")


def add_points(window: float, *points: tuple[float, float]) -> list[float]:
    trends = CounterGrowth(window)
    return [trends.add(now, {KEY: value})[KEY] for now, value in points]


def test_initial_count_is_not_growth() -> None:
    assert add_points(600, (0, 1000), (1, 1000), (2, 1003)) == [0, 0, 3]


def test_growth_ends_after_the_window() -> None:
    trends = CounterGrowth(100)
    growth = [trends.add(now, {KEY: 7 if now >= 50 else 0})[KEY] for now in range(300)]
    assert growth[49] == 0
    assert growth[50:150] == [7] * 100, "it is held for the whole window"
    assert set(growth[150 + 100 // STEPS :]) == {0}, "and a step longer at most"


def test_zero_window_is_the_growth_since_the_previous_sample() -> None:
    assert add_points(0, (0, 5), (1, 8), (2, 8), (3, 9)) == [0, 3, 0, 1]


@pytest.mark.parametrize(
    ("values", "wanted"),
    [((10, 12, 0), 2), ((10, 12, 3), 5), ((10, 4, 4), 4), ((10, 0, 10), 10)],
)
def test_counter_that_decreased_restarted_at_zero(values: tuple[float, ...], wanted: float) -> None:
    assert add_points(600, *enumerate(values))[-1] == wanted


def test_counter_may_appear_later_or_be_missing_for_a_while() -> None:
    other = ("replays", "0000:04:00.0")
    trends = CounterGrowth(600)
    trends.add(0, {KEY: 5})
    assert trends.add(1, {KEY: 6, other: 100}) == {KEY: 1, other: 0}
    assert trends.add(2, {other: 101}) == {other: 1}
    assert trends.add(3, {KEY: 8, other: 101}) == {KEY: 3, other: 1}


def test_growth_during_a_long_gap_counts_as_new() -> None:
    """The time of the growth is unknown: it counts as new for one window."""
    growth = add_points(60, (0, 0), (1, 0), (1000, 9), (1010, 9), (1059, 9), (1100, 9))
    assert growth == [0, 0, 9, 9, 9, 0]


def test_number_of_points_is_limited() -> None:
    trends = CounterGrowth(600)
    for now in range(5000):
        trends.add(now, {KEY: now})
    assert len(trends._points) <= STEPS + 2

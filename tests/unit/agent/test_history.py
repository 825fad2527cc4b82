"""An hour of values for the plots."""

from __future__ import annotations

from agent.sampling.history import SERIES, STEP_SECONDS, STEPS, History, HistoryDocument

NAME, GPU = "temperature_celsius", "0000:04:00.0"
WALL = 1_772_366_400.0  # the wall clock is this much ahead of the time since boot


def document(history: History, now: float) -> HistoryDocument:
    return history.build_document(now, WALL + now)


def read_points(history: History, now: float) -> list[float | None]:
    return document(history, now)["series"][NAME][GPU]


def test_history_has_240_points_up_to_now() -> None:
    history = History()
    for step in range(1000):
        history.add(step * STEP_SECONDS, {(NAME, GPU): float(step)})
    now = 999 * STEP_SECONDS + 3
    answer = document(history, now)
    assert (STEPS, STEP_SECONDS * STEPS) == (240, 3600)
    assert answer["series"][NAME][GPU] == [float(step) for step in range(760, 1000)]
    assert answer["times"] == [WALL + step * STEP_SECONDS for step in range(760, 1000)]
    assert answer["interval_seconds"] == STEP_SECONDS
    assert set(answer["series"]) == set(SERIES)


def test_point_is_the_mean_of_15_seconds() -> None:
    history = History()
    for second, value in enumerate((30.0, 40.0, 50.0)):
        history.add(150 + second, {(NAME, GPU): value})
    history.add(165, {(NAME, GPU): 7.0})
    assert read_points(history, 165)[-2:] == [40.0, 7.0]


def test_points_before_the_start_are_empty() -> None:
    history = History()
    assert document(history, 0)["series"] == {name: {} for name in SERIES}
    history.add(30, {(NAME, GPU): 1.0})
    assert read_points(history, 30) == [None] * 239 + [1.0]


def test_gap_is_empty_even_if_the_ring_has_older_values() -> None:
    history = History()
    for step in range(300):
        history.add(step * STEP_SECONDS, {(NAME, GPU): float(step)})
    history.add(310 * STEP_SECONDS, {(NAME, GPU): 310.0})
    assert read_points(history, 310 * STEP_SECONDS)[-12:] == [299.0, *[None] * 10, 310.0]


def test_gap_longer_than_the_ring_is_empty() -> None:
    history = History()
    for step in range(300):
        history.add(step * STEP_SECONDS, {(NAME, GPU): 1.0})
    history.add(5000 * STEP_SECONDS, {(NAME, GPU): 2.0})
    assert read_points(history, 5000 * STEP_SECONDS) == [None] * 239 + [2.0]


def test_missing_gpu_leaves_a_gap_in_its_series_only() -> None:
    history = History()
    for step in range(10):
        values = {(NAME, "0000:06:00.0"): 1.0, (NAME, GPU): 5.0 if step < 4 else None}
        history.add(step * STEP_SECONDS, values)
    points = document(history, 9 * STEP_SECONDS)["series"][NAME]
    assert points[GPU][-10:] == [5.0] * 4 + [None] * 6
    assert points["0000:06:00.0"][-10:] == [1.0] * 10


def test_old_values_are_not_shown_as_new_without_samples() -> None:
    history = History()
    for step in range(300):
        history.add(step * STEP_SECONDS, {(NAME, GPU): float(step)})
    assert read_points(history, 302 * STEP_SECONDS)[-4:] == [299.0, None, None, None]
    assert read_points(history, 302 * STEP_SECONDS)[0] == 63.0
    assert set(read_points(history, 900 * STEP_SECONDS)) == {None}


def test_values_have_five_significant_digits() -> None:
    history = History()
    history.add(0, {(NAME, GPU): 1 / 3})
    assert read_points(history, 0)[-1] == 0.33333

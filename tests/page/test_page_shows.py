"""What the page shows for the example: each section, as visible text."""

from __future__ import annotations

from typing import Any

import pytest

from tests.page import documents
from tests.page.conftest import Show, Shown
from tests.page.server import Agent


def test_header_shows_status_and_driver(example: Shown) -> None:
    head = example.text("#header")
    for part in (
        "rig",
        "Critical",
        "1 critical",
        "3 warnings",
        "2 unknown",
        "13 ok",
        "ASRock B450 Steel Legend",
        "AMD Ryzen 5 1600",
        "3 of 3 answer",
        "327 of 840 W",
        "580.95.05",
        "13.0",
        "6.1.0-39-amd64",
    ):
        assert part in head
    assert example.page.title() == "critical · rig"
    assert example.text("#header .age").startswith("Sampled ")
    assert example.text("#banner") == ""


def test_failing_verdicts_come_first_with_all_details(example: Shown) -> None:
    cards = example.texts("#verdicts .verdict")
    assert [card.split()[0] for card in cards] == ["Critical", *["Warning"] * 3, "Unknown"]
    width = next(v for v in example.agent.rig["verdicts"] if v["status"] == "critical")
    for part in (
        "GPU 2 08:00.0",
        width["title"],
        width["reading"],
        width["expectation"],
        width["why"],
        "What to do: A x1 USB riser",
    ):
        assert part in cards[0]
    # One card for the same verdict on two GPUs.
    assert "GPU 0" in cards[-1]
    assert "GPU 1" in cards[-1]


def test_ok_verdicts_are_folded_and_stay_open_once_unfolded(show: Show) -> None:
    agent = Agent()
    agent.rig["agent"]["interval_seconds"] = 1.0
    shown = show(agent)
    assert not shown.page.locator("#verdicts .fine").is_visible()
    assert shown.text("#verdicts summary") == "13 checks ok"
    shown.page.locator("#verdicts summary").press("Enter")
    assert "580.95.05 answers" in shown.text("#verdicts .fine")
    shown.agent.rig["verdicts"][4]["reading"] = "581.00 answers"
    shown.wait("/581.00 answers/.test(document.querySelector('#verdicts .fine').textContent)")
    assert shown.page.locator("#verdicts .fine").is_visible()


def test_gpu_tiles_show_readings_of_each_gpu(example: Shown) -> None:
    tiles = example.texts("#gpus .tile")
    assert len(tiles) == 3
    for part in (
        "GPU 2",
        "0000:08:00.0",
        "NVIDIA GeForce RTX 3090",
        "68 °C",
        "slows down at 95 °C",
        "279 W",
        "limit 280 W (default 350 W)",
        "18.0 of 24.0 GiB",
        "99 %",
        "SM 1695 of 2100 MHz",
        "memory 9751 of 9751 MHz",
        "P2",
        "Held down by the power limit",
        "58 % (2 fans)",
        "x1 at 8 GT/s (Gen 3)",
        "0.98 GB/s",
        "expected x4",
        "31 GPU memory page fault, 1 time",
    ):
        assert part in tiles[2]
    assert "OK" in tiles[0]
    assert "nothing; idle" in tiles[0]
    assert "expected" not in tiles[0]


def test_bar_widths_match_their_values(example: Shown) -> None:
    parts = example.page.locator("#gpus .tile").nth(2).locator(".bar-part")
    widths = [parts.nth(number).get_attribute("width") for number in range(4)]
    assert widths == ["71.6%", "99.8%", "75.0%", "99.0%"]


def test_collectives_show_bandwidth_and_expectation(example: Shown) -> None:
    row = example.text("#nccl tbody")
    for part in (
        "all_reduce",
        "nccl, 3 ranks, 256 MiB",
        "0.31 GB/s",
        "83 % of 0.38 GB/s expected",
        "expected from 5 GT/s x1",
        "23 h 53 min ago",
        "41.0 µs",
        "NCCL 2.29.7",
    ):
        assert part in row


def test_wrong_values_of_a_collective_are_shown(show: Show) -> None:
    agent = Agent()
    agent.rig["nccl"]["results"][0]["wrong_values"] = 7
    agent.rig["nccl"]["ignored"] = [{"file": "odd.json", "reason": "no JSON"}]
    agent.rig["verdicts"].append(
        documents.verdict(subject="all_reduce nccl 3", status="critical", title="Values")
    )
    shown = show(agent)
    assert "7" in shown.texts("#nccl td")[1]
    assert shown.page.locator("#nccl tbody th .mark.critical").count() == 1
    assert "1 result file could not be read: odd.json (no JSON)" in shown.text("#nccl")
    assert any("all_reduce nccl 3" in card for card in shown.texts("#verdicts .verdict.critical"))


def test_host_section_shows_memory_disks_and_cpu(example: Shown) -> None:
    host = example.text("#host")
    for part in (
        "0.8 of 3.8 GiB",
        "0.0 of 0.3 GiB",
        "Disk /, /var/lib/deeprig",
        "54.0 of 110.0 GiB",
        "0.4 on 12 CPUs",
        "3.2 GHz of 3.6 GHz",
        "pci=noaer",
        "Reboot required no",
    ):
        assert part in host
    footer = example.text("#footer")
    assert "Agent 0.1.0" in footer
    assert "a sample every 5 s" in footer


def test_history_plots_of_a_quantity_share_one_scale(example: Shown) -> None:
    assert example.texts("#history h3") == [
        "Temperature 20 to 95 °C",
        "Power 0 to 280 W",
        "Memory used 0.0 to 24.0 GiB",
        "Utilisation 0 to 100 %",
        "PCIe path width x0 to x4",
    ]
    assert example.page.locator("#history .plot").count() == 15
    width = example.texts("#history .quantity:last-child, #history [data-key=path_width] .plot")[-1]
    assert width == "GPU 2 x1 min x1 max x4 expected x4"


def test_history_shows_gaps(example: Shown) -> None:
    plots = example.page.locator("#history [data-key=temperature_celsius] .plot svg")
    missing = example.agent.history["series"]["temperature_celsius"]["0000:06:00.0"].count(None)
    labels = [plots.nth(number).get_attribute("aria-label") or "" for number in range(3)]
    assert missing * 15 == 4 * 60 + 45
    assert "4\u00a0min 45\u00a0s without a value" in labels[1]
    assert "without a value" not in labels[0] + labels[2]
    assert [plots.nth(n).locator(".gap").count() for n in range(3)] == [0, 1, 0]
    assert [plots.nth(n).locator(".line").count() for n in range(3)] == [1, 2, 1]


def test_history_shows_the_values_at_a_selected_time(show: Show) -> None:
    """The user selects the time by keyboard or by pointing at a plot."""
    shown = show()
    values = shown.agent.history["series"]["temperature_celsius"]["0000:04:00.0"]
    choice = shown.page.locator("#history input")
    choice.press("Home")
    shown.wait("document.querySelectorAll('#history .moment').length === 15")
    assert f"GPU 0 {values[0]:.0f} °C" in shown.texts("#history .plot")[0]
    choice.press("End")
    shown.wait("document.querySelectorAll('#history .moment').length === 0")
    shown.page.locator("#history .plot svg").first.hover()
    shown.wait("document.querySelectorAll('#history .moment').length === 15")
    assert "now" not in shown.text("#history output")


@pytest.mark.parametrize("series", [{}, {"temperature_celsius": {"0000:04:00.0": [None] * 240}}])
def test_empty_history_is_announced(show: Show, series: dict[str, Any]) -> None:
    agent = Agent()
    agent.history["series"] = series
    assert "No history yet" in show(agent).text("#history")

"""Bandwidth of GPUs that share a link."""

from __future__ import annotations

import pytest

from agent.readings.sharing import DMI, Passage, find_bottlenecks, find_slowest

GEN2, GEN3 = 5e9, 8e9


def make_passages(*names: str, width: int | None = 1, speed: float = GEN3) -> dict[str, Passage]:
    return {name: Passage(name, width, speed, "10de") for name in names}


def test_gpu_without_sharing_is_limited_by_its_own_link() -> None:
    links = make_passages("a", "b", width=4)
    assert find_bottlenecks(links, {name: [link] for name, link in links.items()}) == links


def test_single_lane_of_a_splitter_card_is_divided() -> None:
    links = make_passages("a", "b", "c")
    riser = Passage("0000:01:00.0", 1, GEN2)
    ways = {name: [riser, link] for name, link in links.items()} | {"c": [links["c"]]}
    bottlenecks = find_bottlenecks(links, ways)
    assert bottlenecks["a"] == Passage("0000:01:00.0", 1, GEN2, sharers=2)
    assert bottlenecks["a"].bandwidth == pytest.approx(0.1875e9)
    assert bottlenecks["a"].place == "0000:01:00.0, shared by 2 GPUs"
    assert bottlenecks["c"] == links["c"]
    assert find_slowest(links, ways) == bottlenecks["a"]


def test_wide_link_above_narrow_links_is_not_the_bottleneck() -> None:
    links = make_passages("a", "b")
    above = Passage("0000:01:00.0", 4, GEN3)
    assert find_bottlenecks(links, {name: [above, link] for name, link in links.items()}) == links


@pytest.mark.parametrize(
    ("vendor", "root", "shared"),
    [
        ("8086", "0000:00:1c.", True),
        ("8086", "0000:00:1b.", True),
        ("8086", "0000:00:01.", False),  # the processor's own
        ("8086", "0000:80:1c.", False),  # no root bus of a chipset
        ("1022", "0000:00:1c.", False),
    ],
)
def test_gpus_at_an_intel_chipset_share_its_dmi_link(vendor: str, root: str, shared: bool) -> None:
    links = make_passages("a", "b", "c", width=4)
    ways = {
        name: [Passage(f"{root}{number}", 4, GEN3, vendor), link]
        for number, (name, link) in enumerate(links.items())
    }
    wanted = Passage(DMI, 4, GEN3, sharers=3) if shared else links["a"]
    assert find_bottlenecks(links, ways)["a"] == wanted


def test_dmi_link_is_as_fast_as_the_fastest_chipset_port() -> None:
    links = make_passages("a", "b", width=4, speed=GEN2)
    ways = {
        "a": [Passage("0000:00:1c.0", 4, GEN2, "8086")],
        "b": [Passage("0000:00:1d.0", 4, GEN3, "8086")],
    }
    assert find_bottlenecks(links, ways) == links  # x4 Gen3, halved, is x4 Gen2
    ways["b"] = [Passage("0000:00:1d.0", 4, GEN2, "8086")]
    assert find_bottlenecks(links, ways)["a"] == Passage(DMI, 4, GEN2, sharers=2)


def test_unknown_link_makes_the_slowest_bandwidth_unknown() -> None:
    links = make_passages("a", width=4) | make_passages("b", width=None)
    assert find_slowest(links, {name: [link] for name, link in links.items()}).bandwidth == 0


def test_unknown_shared_link_is_not_a_bottleneck() -> None:
    links = make_passages("a", "b")
    above = Passage("0000:01:00.0", None, None)
    assert find_bottlenecks(links, {name: [above, link] for name, link in links.items()}) == links

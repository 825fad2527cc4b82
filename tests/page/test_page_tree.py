"""The drawn PCIe tree: devices, links that need attention, and the same as text."""

from __future__ import annotations

import copy

import pytest

from tests.page import documents
from tests.page.conftest import Show, Shown
from tests.page.server import Agent


def boxes(shown: Shown) -> list[str]:
    """The texts of each box of the drawing, by its title."""
    return shown.page.locator("#tree .box title").all_text_contents()


def widths(shown: Shown) -> list[float]:
    """Thickness of each link, in the order of their drawing."""
    links = shown.page.locator("#tree .drawing g.link path")
    return [float(link.get_attribute("stroke-width") or 0) for link in links.all()]


def test_tree_draws_every_device_and_link(example: Shown) -> None:
    assert boxes(example) == [
        "Root complex, CPU",
        "AMD chipset, 02:00.2",
        "GPU 0, 04:00.0  RTX 3090, path x1",
        "GPU 1, 06:00.0  RTX 3090, path x1",
        "GPU 2, 08:00.0  RTX 3090, path x1",
    ]
    thickness = sorted(widths(example))
    assert len(thickness) == 4
    assert thickness[-1] > thickness[-2] == thickness[0]  # one x4, three x1
    drawn = example.page.locator("#tree .drawing svg").first.text_content() or ""
    for part in ("x4 · Gen\u00a03", "x1 · Gen\u00a01 of 2", "00:01.3", "00:03.1", "03:04.0"):
        assert part in drawn


def test_narrow_link_is_marked_by_colour_and_dashes(example: Shown) -> None:
    link = example.page.locator("#tree .drawing g.link.problem.critical path")
    assert link.count() == 1
    assert link.evaluate("node => getComputedStyle(node).strokeDasharray") != "none"
    colours = example.page.evaluate(
        """() => ["g.link.problem path", "g.link:not(.problem) path"].map((selector) => (
          getComputedStyle(document.querySelector(`#tree .drawing ${selector}`)).stroke))"""
    )
    assert colours[0] != colours[1]
    label = example.page.locator("#tree .link-label.critical")
    assert label.locator(".mark.critical").count() == 1
    assert label.locator(".fault").all_text_contents() == [
        "x1 of x16 · Gen\u00a03",
        "expected x4 · 1204 corrected · 3 changes",
    ]
    reasons = example.texts("#tree .reasons li")
    assert len(reasons) == 1
    for part in (
        "Critical",
        "GPU 2",
        "x4 (board data: ASRock B450 Steel Legend)",
        "from 00:03.1 to 08:00.0",
        "both ends could carry x16",
    ):
        assert part in reasons[0]


def test_link_without_a_failing_verdict_is_not_marked(show: Show) -> None:
    agent = Agent()
    agent.rig["pcie"]["paths"][2]["expected_width"] = 1
    for verdict in agent.rig["verdicts"]:
        if verdict["check"] == "pcie-width":
            verdict["status"] = "ok"
    shown = show(agent)
    assert shown.page.locator("#tree .drawing .problem").count() == 0
    assert shown.page.locator("#tree .reasons").count() == 0


def test_tree_is_also_available_as_text(show: Show) -> None:
    shown = show()
    image = shown.page.locator("#tree .drawing svg").first
    assert "GPU 2, PCIe width: x1, expected: x4" in (image.get_attribute("aria-label") or "")
    shown.page.locator("#tree summary").press("Enter")
    text = shown.text("#tree .text-tree")
    assert "AMD chipset, 02:00.2; linked to root port 00:01.3, by x4 · Gen 3 (8 GT/s)" in text
    assert "critical: expected x4, 1204 corrected errors at 00:03.1, 3 link changes" in text
    nested = "#tree .text-tree > li > ul > li > ul > li"
    assert len(shown.texts(nested)) == 2  # the GPUs below the chipset


@pytest.mark.parametrize(("size", "kind"), [("laptop", "wide"), ("phone", "tall")])
def test_eight_gpus_behind_chained_switches_are_drawn(show: Show, size: str, kind: str) -> None:
    shown = show(Agent(rig=documents.build_many()), size=size)
    assert shown.page.locator(f"#tree svg.tree.{kind}").count() == 1
    assert len(boxes(shown)) == 1 + 3 + 8
    assert shown.page.locator("#tree .drawing g.link.problem.warning").count() == 1
    assert "GPU 7" in shown.text("#tree .reasons")
    # No box over another, none outside of the drawing.
    apart = shown.page.evaluate(
        """() => {
          const drawing = document.querySelector("#tree .drawing svg").getBoundingClientRect();
          const all = [...document.querySelectorAll("#tree .box rect")]
            .map((rect) => rect.getBoundingClientRect());
          const over = (a, b) => a.left < b.right && b.left < a.right
            && a.top < b.bottom && b.top < a.bottom;
          return all.every((a, i) => a.left >= drawing.left && a.right <= drawing.right
            && a.bottom <= drawing.bottom && all.slice(i + 1).every((b) => !over(a, b)));
        }"""
    )
    assert apart is True


def test_lost_gpu_is_drawn_as_not_answering(show: Show) -> None:
    agent = Agent()
    documents.lose_gpu(agent.rig, 1, "GPU is lost")
    shown = show(agent)
    assert "GPU 1, 06:00.0  RTX 3090, does not answer" in boxes(shown)
    assert shown.page.locator("#tree .box.silent").count() == 1
    assert shown.page.locator("#tree .drawing g.link.broken").count() == 1
    assert "no answer" in (shown.page.locator("#tree .drawing").text_content() or "")
    assert any(
        "GPU 1, GPU answers: GPU is lost" in text for text in shown.texts("#tree .reasons li")
    )


def test_gpu_known_only_to_the_driver_is_drawn(show: Show) -> None:
    agent = Agent()
    extra = copy.deepcopy(agent.rig["gpus"][0])
    extra.update(address="0000:0a:00.0", index=3)
    agent.rig["gpus"].append(extra)
    shown = show(agent)
    assert any(text.startswith("GPU 3, 0a:00.0") for text in boxes(shown))
    assert shown.page.locator("#tree .drawing g.link.unmeasured").count() == 1


@pytest.mark.parametrize("parent", ["0000:02:00.2", "0000:ff:00.0"])
def test_device_with_an_impossible_parent_is_drawn_once(show: Show, parent: str) -> None:
    """The device is its own ancestor, or its parent does not exist."""
    agent = Agent()
    agent.rig["pcie"]["devices"][0]["parent"] = parent
    titles = boxes(show(agent))
    assert len([text for text in titles if text.startswith("GPU ")]) == 3


def test_gpu_without_link_widths_is_drawn(show: Show) -> None:
    """The GPU is directly below the root, without a root port and widths."""
    agent = Agent()
    device = agent.rig["pcie"]["devices"][-1]
    device.update(parent="", current_width=None, max_width=None, current_speed=None, max_speed=None)
    agent.rig["pcie"]["devices"] = [device]
    agent.rig["gpus"] = agent.rig["gpus"][2:]
    agent.rig["pcie"]["paths"] = []
    shown = show(agent)
    assert len(boxes(shown)) == 2
    assert "width unknown" in (shown.page.locator("#tree .drawing").text_content() or "")


def test_missing_gpus_are_announced(show: Show) -> None:
    agent = Agent()
    agent.rig.update(gpus=[], pcie={"devices": [], "paths": []})
    shown = show(agent)
    assert "No GPU is seen" in shown.text("#tree")
    assert "Neither the PCIe bus nor the driver shows a GPU." in shown.text("#gpus")

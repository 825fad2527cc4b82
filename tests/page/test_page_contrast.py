"""Accessibility: contrast in both schemes, names and order for assistive technology."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.page import documents
from tests.page.conftest import Show, Shown
from tests.page.server import FOLDER, Agent

TEXT = 4.5  # WCAG 2.2, 1.4.3, level AA: contrast of text
MARKUP = r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\("  # values become text
SCHEMES: list[Any] = ["light", "dark"]
GRAPHICS = 3.0  # 1.4.11: of what a drawing needs to be understood

# Each element's own text, its colour, and the first opaque colour behind it; in drawings, the fill.
TEXTS = """() => {
  const opaque = (colour) => !/rgba\\(.*, 0\\)|transparent/.test(colour);
  const behind = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if (opaque(colour)) return colour;
    }
    return getComputedStyle(document.documentElement).backgroundColor;
  };
  return [...document.querySelectorAll("body *")].filter((node) => (
    node.checkVisibility() && [...node.childNodes].some((child) => (
      child.nodeType === Node.TEXT_NODE && child.data.trim())))
  ).map((node) => {
    const style = getComputedStyle(node);
    const rect = node.closest(".box")?.querySelector("rect");
    const fill = rect ? getComputedStyle(rect).fill : "none";
    return [node.textContent.trim().slice(0, 40),
      node.namespaceURI.endsWith("svg") ? style.fill : style.color,
      opaque(fill) && fill !== "none" ? fill : behind(node)];
  });
}"""


def luminance(colour: str) -> float:
    """Relative luminance of "rgb(r, g, b)" (WCAG 2.2)."""
    channels = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in channels
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(colour: str, ground: str) -> float:
    low, high = sorted((luminance(colour), luminance(ground)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_formula_matches_wcag() -> None:
    assert contrast("rgb(0, 0, 0)", "rgb(255, 255, 255)") == pytest.approx(21)
    assert contrast("rgb(119, 119, 119)", "rgb(255, 255, 255)") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("case", ["example", "lost", "old"])
def test_text_contrast_is_sufficient(show: Show, case: str) -> None:
    agent = Agent()
    if case == "lost":
        documents.lose_gpu(agent.rig, 1, "GPU is lost")
    agent.old = 90.0 if case == "old" else 0.0
    shown = show(agent)
    shown.fold_out()
    for scheme in SCHEMES:
        shown.page.emulate_media(color_scheme=scheme)
        texts: list[list[str]] = shown.page.evaluate(TEXTS)
        assert len(texts) > 150
        faint = [
            (text, round(contrast(colour, ground), 2))
            for text, colour, ground in texts
            if contrast(colour, ground) < TEXT
        ]
        assert faint == [], scheme


@pytest.mark.parametrize("scheme", SCHEMES)
def test_graphics_contrast_is_sufficient(example: Shown, scheme: Any) -> None:
    example.page.emulate_media(color_scheme=scheme)

    def colour(selector: str, name: str) -> str:
        value: str = example.page.locator(selector).first.evaluate(
            f"node => getComputedStyle(node).{name}"
        )
        return value

    paper = colour("#tree .drawing", "backgroundColor")
    for selector, name in (
        ("#tree .drawing g.link:not(.problem) path", "stroke"),
        ("#tree .drawing g.link.problem path", "stroke"),
        ("#tree .box.root rect", "stroke"),
        ("#history .plot .line", "stroke"),
        ("#gpus .bar-part", "fill"),
        ("#gpus .mark.critical .mark-shape", "fill"),
        ("#gpus .mark.warning .mark-shape", "fill"),
    ):
        assert contrast(colour(selector, name), paper) >= GRAPHICS, selector


def test_light_and_dark_scheme_differ(example: Shown) -> None:
    grounds = []
    for scheme in SCHEMES:
        example.page.emulate_media(color_scheme=scheme)
        grounds.append(
            example.page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
        )
    assert luminance(grounds[0]) > 0.8
    assert luminance(grounds[1]) < 0.05


def test_regions_and_images_have_accessible_names(example: Shown) -> None:
    page = example.page
    regions = page.get_by_role("region").all()
    label = "node => document.getElementById(node.getAttribute('aria-labelledby')).textContent"
    names = [region.evaluate(label) for region in regions]
    assert sorted(names) == sorted(
        ["Verdicts", "PCIe tree", "GPUs", "The last hour", "NCCL collectives", "Host"]
    )
    # Every drawing either has a name or is hidden because its text is beside it.
    unnamed: list[Any] = page.evaluate(
        """() => [...document.querySelectorAll("svg")].filter((svg) => (
          !svg.closest("[aria-hidden=true]") && !svg.closest("[role=img]")
          && !svg.getAttribute("aria-label"))).map((svg) => svg.outerHTML)"""
    )
    assert unnamed == []
    levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3')].map((h) => h.tagName)")
    assert levels[0] == "H1"
    assert levels.count("H1") == 1
    assert page.get_by_role("columnheader").count() == 4
    assert page.get_by_role("slider").count() == 1


def test_keyboard_reaches_every_section(show: Show) -> None:
    page = show().page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    reached = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.closest('section, footer')?.id"))
    assert {"verdicts", "tree", "gpus", "history", "footer"} <= reached


def test_index_preloads_every_module() -> None:
    """Otherwise the browser loads them one after another."""
    index = (FOLDER / "index.html").read_text()
    assert set(re.findall(r'"page/([\w-]+\.js)"', index)) == {f.name for f in FOLDER.glob("*.js")}


def test_page_files_load_nothing_from_other_sites() -> None:
    """No inline script or style, no markup from values, no address of another site."""
    for file in FOLDER.iterdir():
        text = file.read_text()
        if file.suffix == ".yaml":
            continue
        assert len(text.splitlines()) <= 400, file
        for address in re.findall(r"https?://[^\s\"'`)]+", text):
            assert address.startswith("http://www.w3.org/2000/svg"), (file, address)
        assert not re.search(MARKUP, text), file
        if file.suffix == ".css":
            assert "@import" not in text
            assert "url(" not in text

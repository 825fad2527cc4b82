"""Charts in deeprig's style: pygal's, as self-contained SVG for a file or a page."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from provision.boundary.text import clean

# Okabe and Ito's colours, which people with any colour vision tell apart.
COLOURS = ("#999999", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
WIDTH, HEIGHT = 820, 440  # of a chart, in SVG's units
# pygal's remarks (which have the date) and its settings for scripts.
_UNWANTED = re.compile(r"<!--.*?-->|<script.*?</script>", re.DOTALL)


def chart_of(kind: str, colours: Sequence[str] = COLOURS, **options: Any) -> Any:
    """Return a pygal chart in our style. kind: its class (Line, XY …); colours: of its series."""
    import pygal  # slow to import, and most verbs draw nothing
    from pygal.style import Style

    style = Style(
        background="white",
        plot_background="white",
        foreground="#444444",
        foreground_strong="#111111",
        foreground_subtle="#888888",
        font_family="sans-serif",
        label_font_size=13,
        major_label_font_size=13,
        legend_font_size=13,
        title_font_size=15,
        guide_stroke_color="#dddddd",
        major_guide_stroke_color="#cccccc",
        stroke_width=2,
        colors=tuple(colours),
    )
    settings = {
        "style": style,
        "js": [],
        "width": WIDTH,
        "height": HEIGHT,
        "dots_size": 4,
        "truncate_legend": -1,
        "disable_xml_declaration": True,
        **options,
    }
    return getattr(pygal, kind)(**settings)


def svg(chart: Any) -> str:
    """Return a chart as an SVG element without scripts."""
    return clean(_UNWANTED.sub("", chart.render(is_unicode=True)))

"""An assessment as one HTML file to keep: it needs nothing else, and no internet."""

from __future__ import annotations

import time
from pathlib import Path

import jinja2

from provision.assess.assessment import Assessment
from provision.assess.finding import together
from provision.assess.show import power_line

TEMPLATE = Path(__file__).parent / "report.html.j2"


def render(one: Assessment) -> str:
    """The page."""
    template = jinja2.Environment(autoescape=True).from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(
        one=one,
        wear=together(one.wear),
        security=together(one.security),
        when=time.strftime("%Y-%m-%d %H:%M %Z", time.localtime(one.taken_at)),
        power=[power_line(budget) for budget in one.budgets],
    )

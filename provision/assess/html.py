"""An assessment as one HTML file to keep: it needs nothing else, and no internet."""

from __future__ import annotations

import time
from pathlib import Path

from provision.assess.assessment import Assessment
from provision.assess.finding import merge_findings
from provision.assess.show import power_line
from provision.output.html import render_page

TEMPLATE = Path(__file__).parent / "report.html.j2"


def render(assessment: Assessment) -> str:
    """Return the page."""
    return render_page(
        TEMPLATE,
        assessment=assessment,
        wear=merge_findings(assessment.wear),
        security=merge_findings(assessment.security),
        repairs=assessment.repairs,
        when=time.strftime("%Y-%m-%d %H:%M %Z", time.localtime(assessment.taken_at)),
        power=[power_line(budget) for budget in assessment.budgets],
    )

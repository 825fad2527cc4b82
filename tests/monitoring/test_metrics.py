"""promtool's check of the agent's metrics: names, types, help."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.monitoring.tools import tool
from tests.unit.agent.test_metrics import make_filled_sample, render

#: Every row of the table has a series in the one; the other is a whole scrape of a rig.
TEXTS = {
    "every row": render(make_filled_sample())[0],
    "a scrape": (Path(__file__).parents[1] / "unit/agent/golden/classic.prom").read_bytes(),
}


@pytest.mark.parametrize("classic", TEXTS.values(), ids=TEXTS)
def test_promtool_accepts_the_metrics(classic: bytes) -> None:
    done = subprocess.run(
        [tool("promtool"), "check", "metrics"], input=classic, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")

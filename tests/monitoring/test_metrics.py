"""What promtool thinks of the agent's own text: names, types, help."""

from __future__ import annotations

import subprocess

from tests.monitoring.tools import tool
from tests.unit.agent.test_metrics import filled, render


def test_promtool_has_nothing_to_say() -> None:
    """Of a sample in which every row of the table has a series."""
    classic, _ = render(filled())
    done = subprocess.run(
        [tool("promtool"), "check", "metrics"], input=classic, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")

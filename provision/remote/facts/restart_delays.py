"""After how long what starts a miner would start it again: a unit's delay, a timer, a crontab."""

from __future__ import annotations

import re
from typing import Iterable

from provision.remote.facts.commands import unit_lines
from provision.remote.facts.mining_evidence import EvidenceRow
from provision.remote.facts.tree import Tree

UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "hr": 3600}
#: systemd.time(7): `1min 30s`; a number alone is in seconds.
SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)")
DELAYS = ("RestartSec", "RestartMaxDelaySec", "OnBootSec", "OnUnitActiveSec", "OnUnitInactiveSec")
#: The longest that is waited for, in seconds: a job of each hour or night is not.
LONGEST = 600
MINUTE = 60


def longest_restart_delay(tree: Tree, rows: Iterable[EvidenceRow]) -> int:
    """Return the longest of the delays up to LONGEST, in seconds; 0 where nothing restarts."""
    delays = {0.0}
    for row in rows:
        path = row["evidence"]
        if path.endswith((".service", ".timer")):
            pairs = (line.partition("=")[::2] for line in unit_lines(tree, path))
            delays |= {parse_span(value) for key, value in pairs if key.strip() in DELAYS}
        elif row["kind"] == "cron":
            delays |= {_cron_delay(line) for line in tree.lines(path) if row["name"] in line}
    return int(max(delay for delay in delays if delay <= LONGEST))


def parse_span(text: str) -> float:
    """Return a time span of systemd in seconds.

    >>> parse_span("1min 30s"), parse_span("15"), parse_span("infinity")
    (90.0, 15.0, 0.0)
    """
    spans = SPAN.findall(text.strip())
    return float(sum(float(number) * UNITS.get(unit or "s", 1) for number, unit in spans))


def _cron_delay(line: str) -> float:
    """Return after how long a line of a crontab runs again; 0 for a job of the boot."""
    fields = line.split()
    step = re.fullmatch(r"(?:\*|\d+-\d+)/(\d+)", fields[0])
    if step and fields[1:2] == ["*"]:
        return float(step.group(1)) * MINUTE
    return float(MINUTE) if fields[:2] == ["*", "*"] else 0.0

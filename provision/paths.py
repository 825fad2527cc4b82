"""Paths of this checkout and of this user, computed in one place, whatever `fab -r` runs in."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).parents[1]
INVENTORY = ROOT / "inventory"
PLAYBOOKS = ROOT / "playbooks"
BACKUPS = ROOT / "backups"  # of rigs, one folder each
LOG = ROOT / "log"  # of runs, benchmarks and validations

# What provisioning installs on a rig.
BENCH_PROGRAM = "/opt/deeprig/bin/deeprig-bench"
RIG_STATE = "/var/lib/deeprig"


def cache_folder() -> Path:
    """Return this user's folder of what can be made again: below $XDG_CACHE_HOME, or ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "deeprig"

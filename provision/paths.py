"""Paths of this checkout, computed in one place, whatever folder `fab -r` runs in."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[1]
INVENTORY = ROOT / "inventory"
PLAYBOOKS = ROOT / "playbooks"
BACKUPS = ROOT / "backups"  # of rigs, one folder each
LOG = ROOT / "log"  # of runs, benchmarks and validations

# What provisioning installs on a rig.
BENCH_PROGRAM = "/opt/deeprig/bin/deeprig-bench"
RIG_STATE = "/var/lib/deeprig"

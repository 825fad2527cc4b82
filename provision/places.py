"""Where this project keeps what is the operator's own, from wherever `fab -r` runs it."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[1]
BACKUPS = ROOT / "backups"  # of rigs, by their names
LOG = ROOT / "log"  # of runs, benchmarks and validations

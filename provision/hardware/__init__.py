"""What is known of hardware by its name: the tables of inventory/hardware/, row by row.

cards (GPUs), cpus, boards, chipsets (the rule that a board falls back to), power (supplies).
"""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parents[2] / "inventory" / "hardware"

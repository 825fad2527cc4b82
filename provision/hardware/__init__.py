"""What is known of hardware by its name: the tables of inventory/hardware/, row by row.

cards (GPUs), cpus, boards, chipsets (the rule that a board falls back to), power (supplies).
"""

from __future__ import annotations

from provision.paths import INVENTORY

FOLDER = INVENTORY / "hardware"

"""The agent's tables: metrics, checks, Xids and thresholds, as YAML beside this file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent
# libyaml's loader where there is one: the tables are read at every start.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def load(name: str) -> Any:
    """The content of NAME.yml."""
    return parse((FOLDER / f"{name}.yml").read_text(encoding="utf-8"))


def parse(content: str) -> Any:
    """YAML as plain data. Raises yaml.YAMLError."""
    return yaml.load(content, LOADER)  # a safe loader, by either name  # nosec B506

"""The agent's tables: metrics, checks, Xids and thresholds, as YAML beside this file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent
# libyaml's loader if it is installed, because it starts faster.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def load(name: str) -> Any:
    """Return the content of NAME.yml."""
    return parse((FOLDER / f"{name}.yml").read_text(encoding="utf-8"))


def parse(content: str) -> Any:
    """Return YAML as plain data. Raises yaml.YAMLError."""
    return yaml.load(content, LOADER)  # both are safe loaders  # nosec B506

"""The tables of data that lie beside the facts."""

from __future__ import annotations

import json
import pkgutil
from typing import Any


def table(name: str) -> Any:
    """Return a table by its file's name."""
    data = pkgutil.get_data(__package__, name)
    assert data is not None
    return json.loads(data.decode())

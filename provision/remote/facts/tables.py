"""The tables of data that lie beside the facts."""

from __future__ import annotations

import functools
import json
import pkgutil
from typing import Any


@functools.lru_cache(maxsize=None)
def table(name: str) -> Any:
    """Return a table by its file's name: read once, for it is asked for with each finding."""
    data = pkgutil.get_data(__package__, name)
    assert data is not None
    return json.loads(data.decode())

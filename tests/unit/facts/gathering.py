"""Facts of the machine that runs the tests, as a rig's worker gathers them."""

from __future__ import annotations

import copy
import functools
from typing import Any

from provision.remote.host import ModuleHost
from provision.remote.modules import setup


@functools.cache
def _facts() -> dict[str, Any]:
    args = {"gather_subset": ["all"], "filter": [], "fact_path": "/nonexistent"}
    facts: dict[str, Any] = setup.run(args, ModuleHost())["ansible_facts"]
    return facts


def gather_facts() -> dict[str, Any]:
    """Return a copy of all `ansible_*` facts."""
    return copy.deepcopy(_facts())

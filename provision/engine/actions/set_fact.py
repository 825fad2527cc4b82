"""Set variables of this host for the rest of the run."""

from __future__ import annotations

from typing import Any

from provision.engine.actions import Context
from provision.remote.options import Option

OPTIONS = {"cacheable": Option("bool", default=False)}
ANY_OPTION = True


def act(args: dict[str, Any], context: Context) -> dict[str, Any]:
    """`ansible_facts` holds the new variables."""
    facts = {name: value for name, value in args.items() if name != "cacheable"}
    return {"changed": False, "ansible_facts": facts}

"""Set variables of this host for the rest of the run."""

from __future__ import annotations

from typing import Any

from provision.engine.actions import ActionContext
from provision.engine.results import Result
from provision.remote.options import Option
from provision.templating.unknown import Unknown, collapse

OPTIONS = {"cacheable": Option("bool", default=False)}
ANY_OPTION = True


def act(args: dict[str, Any], context: ActionContext) -> Result:
    """`ansible_facts` holds the new variables; in check mode some may be unknown."""
    facts = {name: _set(value) for name, value in args.items() if name != "cacheable"}
    reasons = [value.reason for value in facts.values() if isinstance(value, Unknown)]
    return Result({"ansible_facts": facts}, unknown=reasons[0] if reasons else "")


def _set(value: Any) -> Any:
    value = collapse(value)
    return value.defined() if isinstance(value, Unknown) else value

"""What a playbook's variables are for a host whose facts are known, without playing it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from provision import playbook, source
from provision.inventory import Host, Inventory
from provision.variables import HostVariables

PLAYBOOKS = Path(__file__).parents[1] / "playbooks"


def foretold(
    name: str,
    host: Host,
    inventory: Inventory,
    facts: Mapping[str, Any],
    extra: Mapping[str, Any],
    variables: tuple[str, ...],
) -> list[Any]:
    """Those variables, in that order, as the one play of `name`.yml would have them.

    facts: under their `ansible_*` names. Raises RenderError, SourceError.
    """
    known = HostVariables(host, inventory, extra, check=True, diff=False)
    known.facts.update(facts)
    (play,) = playbook.load(PLAYBOOKS / f"{name}.yml")
    templar = known.templar(play)
    return [templar.render(source.Text.given(f"{{{{ {one} }}}}")) for one in variables]

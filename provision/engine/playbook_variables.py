"""What a playbook's variables are for a host whose facts are known, without playing it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from provision.engine import playbook
from provision.engine.variables import HostVariables
from provision.inventory import yaml_source
from provision.inventory.hosts import Host, Inventory
from provision.paths import PLAYBOOKS


def evaluate_variables(
    name: str,
    host: Host,
    inventory: Inventory,
    facts: Mapping[str, Any],
    extra: Mapping[str, Any],
    variables: tuple[str, ...],
) -> list[Any]:
    """Return those variables, in that order, as the one play of `name`.yml would have them.

    facts: under their `ansible_*` names. Raises RenderError, SourceError.
    """
    host_variables = HostVariables(host, inventory, extra, check=True, diff=False)
    host_variables.add_facts(facts)
    (play,) = playbook.load(PLAYBOOKS / f"{name}.yml")
    templar = host_variables.templar(play)
    return [
        templar.render(yaml_source.YamlText.given(f"{{{{ {variable} }}}}"))
        for variable in variables
    ]

"""Variables of a host that may be templates, rendered before anything connects."""

from __future__ import annotations

from typing import Any

from provision.inventory.hosts import Host
from provision.inventory.yaml_source import is_template


def render_variable(host: Host, *names: str) -> Any:
    """Return the first of these variables that is set, rendered; None where none is set.

    Raises RenderError.
    """
    value = next((given for name in names if (given := host.variables.get(name)) is not None), None)
    if not is_template(value):
        return value
    from provision.templating.templar import Templar  # Jinja2 is slow to import, and seldom needed

    return Templar([host.variables]).render(value)

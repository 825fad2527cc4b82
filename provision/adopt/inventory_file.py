"""The new entry of an adopted rig in the inventory, computed before anything depends on it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from provision.adopt import inventory_entry, records
from provision.errors import DeeprigError
from provision.inventory.hosts import Host, Inventory
from provision.output import files
from provision.ssh.host_keys import HOST_KEY
from provision.templating.host_variables import render_variable

#: What an entry may hold that was true before the password was changed.
PASSWORDS = (
    "ansible_password",
    "ansible_ssh_pass",
    "ansible_become_password",
    "ansible_become_pass",
)


@dataclass(frozen=True)
class Edit:
    """A file's new text. summary: what changes. problem: why it can't be written."""

    path: Path
    summary: str
    text: str = ""
    problem: str = ""

    def write(self) -> None:
        """Replace the file. Raises DeeprigError."""
        files.write(self.path, self.text)


def plan_addition(path: Path, name: str, values: Mapping[str, Any], comment: str) -> Edit:
    """Return a host more in the file."""
    summary = f"{name} in {path}"
    try:
        return _check_writable(Edit(path, summary, records.text_with(path, name, values, comment)))
    except (OSError, DeeprigError) as error:
        return Edit(path, summary, problem=f"{name} can't be added: {error}")


def plan_change(
    inventory: Inventory, host: Host, path: Path, values: Mapping[str, Any], stale: bool
) -> Edit | None:
    """Return the host's address and key now, and, where they are stale, no passwords.

    None where the file has all that already.
    """
    changes: dict[str, str | None] = {}
    address = str(render_variable(host, "ansible_host") or host.name)
    if address != values["ansible_host"]:
        changes["ansible_host"] = values["ansible_host"]
    if not host.variables.get(HOST_KEY):
        changes[HOST_KEY] = values[HOST_KEY]
    written = records.read_variables(path, host.name)
    if stale and any(name in written for name in PASSWORDS):
        key = values["ansible_ssh_private_key_file"]
        changes |= dict.fromkeys(PASSWORDS) | {"ansible_ssh_private_key_file": key}
    if not changes:
        return None
    lines = "\n".join(
        f"{variable}: {value}" if value else f"without {variable}"
        for variable, value in changes.items()
        if value or variable in written
    )
    summary = f"{host.name} in {path}:\n{lines}"
    try:
        text = inventory_entry.change_host(files.read(path), host.name, changes, path)
        return _check_writable(Edit(path, summary, text))
    except (OSError, DeeprigError) as error:
        problem = f"{host.name} should have, in {path}:\n{lines}\n{error}"
        return Edit(path, summary, problem=problem)


def _check_writable(edit: Edit) -> Edit:
    folder = next(parent for parent in edit.path.parents if parent.exists())
    if os.access(folder, os.W_OK):
        return edit
    return Edit(edit.path, edit.summary, problem=f"nothing can be written into {folder}")

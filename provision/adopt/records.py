"""What the inventory keeps of an adopted rig: its entry, and its password in a separate file."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from provision.adopt import inventory_entry
from provision.adopt.operator_key import OperatorKey
from provision.discovery.survey import Survey, describe_rig
from provision.inventory import yaml_source
from provision.inventory.hosts import Host, Inventory, read_inventory
from provision.inventory.yaml_source import mark_unsafe
from provision.output import files
from provision.ssh.host_keys import HOST_KEY, keys_in_known_hosts
from provision.templating.host_variables import render_variable

FILE = "rigs.yml"
SECRET = "secret.yml"
COMMENT_WIDTH = 90
COMMENT_LABELS = ("system", "board", "CPU", "memory", "GPUs")


def file_of(inventory: Inventory, path: str, name: str = "") -> Path:
    """Return the inventory file that has the host, or the file for new hosts.

    path: the inventory's, as it was given: where it is a file, it is that.
    """
    if path and Path(path).is_file():
        return Path(path)
    files = sorted(inventory.folder.glob("*.y*ml"))
    return next(
        (file for file in files if name in read_inventory(file).hosts), inventory.folder / FILE
    )


def read_variables(path: Path, name: str) -> Mapping[str, Any]:
    """Return the variables of a host as an inventory file has them, in any of its groups."""
    return read_inventory(path).written(name) if path.exists() else {}


def find_known_host(inventory: Inventory, host: Host, key: str = "") -> Host | None:
    """Return the inventory's host of this name or address, or whose host key on record is `key`.

    Other values that a rig reports, its MAC addresses included, identify nothing.
    """
    hosts = [inventory.host(name) for name in inventory.hosts]
    wanted = _where(host)
    for known_host in hosts:
        if known_host.name == host.name or _where(known_host) == wanted:
            return known_host
    return next((known_host for known_host in hosts if key and key in host_keys(known_host)), None)


def host_keys(host: Host) -> set[str]:
    """Return the keys on record of a host: the inventory's, or else known_hosts' of its address."""
    if recorded := render_variable(host, HOST_KEY):
        return {" ".join(str(recorded).split()[:2])}
    file = render_variable(host, "ansible_ssh_known_hosts_file") or "~/.ssh/known_hosts"
    return keys_in_known_hosts(Path(str(file)).expanduser(), *_where(host))


def find_same_mac_address(inventory: Inventory, look: Survey) -> str:
    """Return the name of the host with this rig's MAC address, or an empty text."""
    macs = set(mac_addresses(look).values())
    for name in inventory.hosts:
        if macs & set(dict(inventory.host(name).variables.get("mac_addresses") or {}).values()):
            return name
    return ""


def mac_addresses(look: Survey) -> dict[str, str]:
    """MAC addresses by interface, of those that are hardware: what DHCP knows the rig by."""
    return {
        interface["name"]: interface["mac"]
        for interface in look.facts["network"]["interfaces"]
        if interface["mac"].strip("0:")
    }


def variables(host: Host, look: Survey, key: OperatorKey, host_key: str) -> dict[str, Any]:
    """Return the variables of an adopted rig; what the rig reported is marked as unsafe."""
    address, port = _where(host)
    home = Path.home()
    private = key.private
    shown = f"~/{private.relative_to(home)}" if private.is_relative_to(home) else str(private)
    result: dict[str, Any] = {"ansible_host": address}
    if port != 22:
        result["ansible_port"] = port
    result["ansible_user"] = str(render_variable(host, "ansible_user", "ansible_ssh_user"))
    result["ansible_ssh_private_key_file"] = shown
    if hosts_file := render_variable(host, "ansible_ssh_known_hosts_file"):
        result["ansible_ssh_known_hosts_file"] = str(hosts_file)
    result[HOST_KEY] = mark_unsafe(host_key)
    if macs := mac_addresses(look):
        result["mac_addresses"] = mark_unsafe(macs)
    return result


def comment(look: Survey, day: date) -> str:
    """Return a comment that describes the rig at the time of its adoption."""
    rows = dict(describe_rig(look))
    facts = [rows[label].split("\n(by ")[0].replace("\n", ", ") for label in COMMENT_LABELS]
    words = f"Adopted on {day.isoformat()}: {facts[0]}. {'. '.join(facts[1:])}."
    return textwrap.fill(words, COMMENT_WIDTH)


def text_with(path: Path, name: str, values: Mapping[str, Any], words: str) -> str:
    """Return the inventory file with the rig in it. Raises SourceError."""
    text = files.read(path) if path.exists() else inventory_entry.EMPTY
    return inventory_entry.add_host(text, name, values, words, path)


def secret_file(inventory: Inventory, name: str) -> Path:
    """Return where the rig's sudo password is kept."""
    return inventory.folder / "host_vars" / name / SECRET


def find_kept_password(inventory: Inventory, name: str, key: str) -> str | None:
    """Return the sudo password that is kept of a rig; None unless it was kept with this host key.

    A password kept without a key goes to the rig whose key is on record at its address.
    """
    path = secret_file(inventory, name)
    content = (yaml_source.load_yaml(path) if path.exists() else None) or {}
    recorded = content.get(HOST_KEY)
    keys = {str(recorded)} if recorded else host_keys(inventory.host(name))
    return content.get("ansible_become_password") if key in keys else None


def secrets(inventory: Inventory, name: str) -> str | None:
    """Return the text of the rig's secrets; None where there are none."""
    path = secret_file(inventory, name)
    return files.read(path) if path.exists() else None


def restore_secrets(inventory: Inventory, name: str, text: str | None) -> None:
    """Keep what was kept before: a password that was never set opens nothing."""
    path = secret_file(inventory, name)
    if text is not None:
        files.write(path, text, 0o600)
    elif path.exists():
        path.unlink()


def keep(inventory: Inventory, name: str, key: str, **values: Any) -> Path:
    """Keep secrets of the rig with this host key beside those that are there.

    Readable by their owner only. Raises DeeprigError.
    """
    path = secret_file(inventory, name)
    kept = (yaml_source.load_yaml(path) if path.exists() else None) or {}
    content = {**kept, **mark_unsafe(values), HOST_KEY: mark_unsafe(key)}
    facts = (
        f"# Of {name}, written by fab adopt. It is yours alone: encrypt it with ansible-vault, or\n"
        "# keep it elsewhere and give it by -e @FILE.\n"
    )
    files.make_private(path.parent)
    files.write(path, f"---\n{facts}{yaml_source.dump_yaml(content)}", 0o600)
    return path


def _where(host: Host) -> tuple[str, int]:
    address = render_variable(host, "ansible_host") or host.name
    return str(address), int(render_variable(host, "ansible_port", "ansible_ssh_port") or 22)

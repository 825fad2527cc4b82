"""The names of this machine, and those that the configuration file adds."""

from __future__ import annotations

import os
import re
from pathlib import Path

from agent.configuration.yaml_file import YamlFile

KEY = "host_names"  # in the agent's configuration file
HOSTS_FILE = Path("/etc/hosts")
NAME = re.compile(
    r"(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9_][A-Za-z0-9_-]{0,62})*"
)


def read_machine_names(hosts_file: Path = HOSTS_FILE) -> set[str]:
    """Return the machine's name, and the names beside it in /etc/hosts, such as its full name.

    Name servers are not asked: an attacker could control their answers.
    """
    name = os.uname().nodename
    names = {name, name.partition(".")[0]}
    try:
        content = hosts_file.read_text(errors="replace")
    except OSError:
        return names
    for line in content.splitlines():
        _, *words = line.partition("#")[0].split() or [""]
        if name in words:
            names.update(words)
    return names


def read_configured_names(file: Path | None) -> list[str]:
    """Return `host_names` of the agent's configuration file. Raises ConfigurationError."""
    if file is None:
        return []
    source = YamlFile.read(file)
    names = source.document.get(KEY) or [] if isinstance(source.document, dict) else []
    if not isinstance(names, list):
        raise source.error(KEY, f"'{KEY}' must be a list of names, not {names!r}")
    for name in names:
        if not isinstance(name, str) or not NAME.fullmatch(name.removesuffix(".")):
            raise source.error(
                KEY, f"'{KEY}': {name!r} is not a host name, such as rig.example.org"
            )
    return names

"""The operator's public keys, of those that open a login: only they get into the new system."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import paramiko

from provision.errors import DeeprigError
from provision.inventory.hosts import Host
from provision.templating.host_variables import render_variable

FOLDER = Path("~/.ssh")


def choose_keys(authorized: Sequence[str], operator_blobs: Iterable[str]) -> tuple[str, ...]:
    """Return the lines that are the operator's. Raises DeeprigError where there is none.

    authorized: TYPE BASE64 of each key that opens the login. operator_blobs: BASE64 of the
    operator's keys.
    """
    blobs = set(operator_blobs)
    chosen = tuple(dict.fromkeys(line for line in authorized if line.split()[1] in blobs))
    if not chosen:
        raise DeeprigError(
            "none of your SSH keys opens this login, and the new system has no login by password",
            advice="fab adopt -H RIG gives it your key; or name the key: -i FILE.",
        )
    return chosen


def list_own_keys(host: Host, given: Sequence[str]) -> set[str]:
    """Return BASE64 of the public keys that a connection to a host may offer."""
    named = render_variable(host, "ansible_ssh_private_key_file", "ansible_private_key_file")
    files = [Path(path).expanduser() for path in (*given, *([str(named)] if named else []))]
    files += FOLDER.expanduser().glob("id_*")
    blobs = set()
    for file in files:
        public = file if file.suffix == ".pub" else file.with_name(f"{file.name}.pub")
        with contextlib.suppress(OSError, IndexError):
            blobs.add(public.read_text(encoding="utf-8").split()[1])
            continue
        with contextlib.suppress(OSError, ValueError, TypeError, paramiko.SSHException):
            blobs.add(paramiko.PKey.from_path(file).get_base64())
    with contextlib.suppress(paramiko.SSHException, OSError):
        blobs |= {key.get_base64() for key in paramiko.Agent().get_keys()}
    return blobs

"""Host keys: who a rig is. A changed key is refused, an unknown one is shown and asked about.

Nothing else identifies a rig: it can report any name, address and MAC address.
The inventory's `ssh_host_key` (`fab adopt` writes it) is the only key that a rig may show, at
whatever address; without it, known_hosts decides.

Fabric adds unknown keys silently and does not look at known_hosts at all (fabric #1804, #2071).
"""

from __future__ import annotations

import base64
import hashlib
import select
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import paramiko

from provision.errors import UnreachableError

HOST_KEY = "ssh_host_key"  # the inventory's variable: type and key in base64, as ssh-keyscan prints
Ask = Callable[[str], str]  # asks the operator, in the thread of one rig

_asking = threading.Lock()  # one question at a time, however many rigs


def prompt_operator(question: str, cancelled: threading.Event | None = None) -> str:
    """Ask at the terminal; an empty answer once it is cancelled, which `input` would not notice."""
    print(question, end=" ", flush=True)
    while not select.select([sys.stdin], [], [], 0.2)[0]:
        if cancelled is not None and cancelled.is_set():
            return ""
    return sys.stdin.readline().strip()


def fingerprint(key: paramiko.PKey) -> str:
    """Return a key's fingerprint as OpenSSH shows it."""
    digest = hashlib.sha256(key.asbytes()).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


class AskAboutUnknown(paramiko.MissingHostKeyPolicy):
    """Accept an unknown key only when the operator agrees, and remember it."""

    def __init__(self, known_hosts: Path, accept_new: bool, ask: Ask) -> None:
        self.known_hosts = known_hosts
        self._accept_new = accept_new
        self._ask = ask

    def missing_host_key(
        self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey
    ) -> None:
        """Called by Paramiko. Raises UnreachableError when the key is not accepted."""
        with _asking:
            if not self._accept_new and not self._ask_operator(hostname, key):
                raise UnreachableError(
                    f"the host key of {hostname} is not known: {key.get_name()} {fingerprint(key)}",
                    advice="Compare it with the rig's own (ssh-keygen -lf "
                    "/etc/ssh/ssh_host_ed25519_key.pub), then run again with --accept-new.",
                )
            self._remember(hostname, key)

    def _ask_operator(self, hostname: str, key: paramiko.PKey) -> bool:
        if not sys.stdin.isatty():
            return False
        answer = self._ask(
            f"The host key of {hostname} is not known:\n  {key.get_name()} {fingerprint(key)}\n"
            "Is this the rig, and may it be remembered? [y/N]"
        )
        return answer.lower() in ("y", "yes")

    def _remember(self, hostname: str, key: paramiko.PKey) -> None:
        self.known_hosts.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self.known_hosts.open("a", encoding="utf-8") as file:
            file.write(f"{hostname} {key.get_name()} {key.get_base64()}\n")


def parse_host_key(text: str) -> paramiko.PKey:
    """Return the key of a line "ssh-ed25519 AAAA…". Raises UnreachableError."""
    try:
        kind, blob = text.split()[:2]
        return paramiko.PKey.from_type_string(kind, base64.b64decode(blob, validate=True))
    except (ValueError, TypeError, paramiko.SSHException):
        raise UnreachableError(
            f"{HOST_KEY} is not an SSH public key: {text[:60]!r}",
            advice="It is a type and a key in base64: ssh-ed25519 AAAA…, as ssh-keyscan prints it.",
        ) from None


def format_host_key(key: paramiko.PKey) -> str:
    """Return a key as `parse_host_key` reads it."""
    return f"{key.get_name()} {key.get_base64()}"


def keys_in_known_hosts(known_hosts: Path, address: str, port: int) -> set[str]:
    """Return the keys that known_hosts has of an address, as `format_host_key` has them."""
    keys = paramiko.HostKeys()
    for path in {known_hosts, Path("~/.ssh/known_hosts").expanduser()}:
        if path.is_file():
            keys.load(str(path))
    recorded = keys.lookup(address if port == 22 else f"[{address}]:{port}")
    return {format_host_key(key) for key in (recorded or {}).values()}


def other_rig_error(error: paramiko.BadHostKeyException, name: str) -> UnreachableError:
    """Return the error for a host whose key differs from the inventory's."""
    return UnreachableError(
        f"{error.hostname} is not '{name}': it shows {error.key.get_name()} "
        f"{fingerprint(error.key)}, but the inventory has {fingerprint(error.expected_key)}",
        advice="Nothing was sent to it. DHCP may have given the address to another machine: look "
        f"for the rig's own in the router. If '{name}' was reinstalled, take {HOST_KEY} out of its "
        "variables (its entry, and host_vars), and run fab adopt.",
    )


def changed_key_error(error: paramiko.BadHostKeyException, known_hosts: Path) -> UnreachableError:
    """Return the error for a host whose key differs from known_hosts."""
    return UnreachableError(
        f"the host key of {error.hostname} has CHANGED: it shows {error.key.get_name()} "
        f"{fingerprint(error.key)}, but {fingerprint(error.expected_key)} is known",
        advice="If the rig was reinstalled, forget the old key: "
        f"ssh-keygen -R '{error.hostname}' -f {known_hosts} . If not, this may be an attack: "
        "another machine answers in its place.",
    )

"""Host keys: a changed key is refused, an unknown one is shown and asked about.

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

Ask = Callable[[str], str]  # asks the operator, in the thread of one rig

_asking = threading.Lock()  # one question at a time, however many rigs


def ask(question: str, cancelled: threading.Event | None = None) -> str:
    """Ask at the terminal; an empty answer once it is cancelled, which `input` would not notice."""
    print(question, end=" ", flush=True)
    while not select.select([sys.stdin], [], [], 0.2)[0]:
        if cancelled is not None and cancelled.is_set():
            return ""
    return sys.stdin.readline().strip()


def fingerprint(key: paramiko.PKey) -> str:
    """A key's fingerprint as OpenSSH shows it."""
    digest = hashlib.sha256(key.asbytes()).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


class AskAboutUnknown(paramiko.MissingHostKeyPolicy):
    """Take an unknown key only when the operator says so, and remember it."""

    def __init__(self, known_hosts: Path, accept_new: bool, ask: Ask) -> None:
        self._known_hosts = known_hosts
        self._accept_new = accept_new
        self._ask = ask

    def missing_host_key(
        self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey
    ) -> None:
        """Called by Paramiko. Raises UnreachableError when the key is not accepted."""
        with _asking:
            if not self._accept_new and not self._agreed(hostname, key):
                raise UnreachableError(
                    f"the host key of {hostname} is not known: {key.get_name()} {fingerprint(key)}",
                    advice="Compare it with the rig's own (ssh-keygen -lf "
                    "/etc/ssh/ssh_host_ed25519_key.pub), then run again with --accept-new.",
                )
            self._remember(hostname, key)

    def _agreed(self, hostname: str, key: paramiko.PKey) -> bool:
        if not sys.stdin.isatty():
            return False
        answer = self._ask(
            f"The host key of {hostname} is not known:\n  {key.get_name()} {fingerprint(key)}\n"
            "Is this the rig, and may it be remembered? [y/N]"
        )
        return answer.lower() in ("y", "yes")

    def _remember(self, hostname: str, key: paramiko.PKey) -> None:
        self._known_hosts.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._known_hosts.open("a", encoding="utf-8") as file:
            file.write(f"{hostname} {key.get_name()} {key.get_base64()}\n")


def changed_key_error(error: paramiko.BadHostKeyException, known_hosts: Path) -> UnreachableError:
    """What to say when a rig shows another key than the one that is known."""
    return UnreachableError(
        f"the host key of {error.hostname} has CHANGED: it shows {error.key.get_name()} "
        f"{fingerprint(error.key)}, but {fingerprint(error.expected_key)} is known",
        advice="If the rig was reinstalled, forget the old key: "
        f"ssh-keygen -R '{error.hostname}' -f {known_hosts} . If not, somebody may be in between.",
    )

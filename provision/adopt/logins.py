"""The rig's door: who may log in by what. Shell only: a rig may have no usable Python yet."""

from __future__ import annotations

import shlex
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import paramiko
from fabric import Config

from provision.adopt.operator_key import OperatorKey
from provision.errors import DeeprigError, UnreachableError
from provision.inventory.hosts import Host
from provision.ssh.connection import CONNECT_TIMEOUT, RigConnection
from provision.ssh.shell import RootShell, Shell, ShellResult
from provision.templating.host_variables import render_variable

MAIN = "/etc/ssh/sshd_config"
RELOAD_SECONDS = 10.0
SETTINGS_FILE = "/etc/ssh/sshd_config.d/00-deeprig.conf"  # sshd keeps the first value that it reads
KEPT = f"{MAIN}.before-deeprig"
# The older name of KbdInteractiveAuthentication, which every sshd knows.
CLOSED = "PasswordAuthentication no\\nChallengeResponseAuthentication no\\n"
RELOAD = "systemctl reload ssh 2>/dev/null || systemctl reload sshd"
#: sshd reads its folder of settings since OpenSSH 8.2, where sshd_config includes it.
CLOSE = f"""
set -e
if grep -Eiq '^[[:space:]]*Include[[:space:]]+"?/etc/ssh/sshd_config[.]d/' {MAIN}; then
  printf '{CLOSED}' > {SETTINGS_FILE}
else
  [ -e {KEPT} ] || cp -p {MAIN} {KEPT}
  {{ printf '{CLOSED}'; cat {KEPT}; }} > {MAIN}
fi
$(command -v sshd || echo /usr/sbin/sshd) -t
{RELOAD}
"""
OPEN = f"rm -f {SETTINGS_FILE}; [ ! -e {KEPT} ] || mv {KEPT} {MAIN}; {RELOAD}"


def offered_methods(host: Host) -> list[str]:
    """Return sshd's login methods ("publickey", "password" …) without sending a secret.

    Empty where it lets anyone in. Raises UnreachableError.
    """
    connection = RigConnection(host, Config(), accept_new=True)
    where = (str(connection.host), int(connection.port))
    try:
        with socket.create_connection(where, CONNECT_TIMEOUT) as link:
            transport = paramiko.Transport(link)
            transport.banner_timeout = CONNECT_TIMEOUT
            try:
                transport.start_client(timeout=CONNECT_TIMEOUT)
                transport.auth_none(str(connection.user))
            except paramiko.BadAuthenticationType as answer:
                return list(answer.allowed_types)
            finally:
                transport.close()
    except (OSError, EOFError, paramiko.SSHException) as error:
        raise UnreachableError(
            f"{where[0]}:{where[1]} does not report its login methods: {error}"
        ) from None
    return []


def offered_methods_after_reload(host: Host) -> list[str]:
    """Return the same after a reload, during which sshd refuses connections for a moment.

    Raises UnreachableError when it does not come back.
    """
    deadline = time.monotonic() + RELOAD_SECONDS
    while True:
        try:
            return offered_methods(host)
        except UnreachableError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def takes_passwords(offered: Sequence[str]) -> bool:
    """Return whether one of these methods is a password in some way."""
    return not {"password", "keyboard-interactive"}.isdisjoint(offered)


def with_password_only(host: Host, password: str, **variables: Any) -> Host:
    """Return the host, to be reached by a password and nothing else."""
    return _with_variables(host, {"ansible_password": password, **variables})


def without_password(host: Host) -> Host:
    """Return the host, to be reached by the keys that there are."""
    gone = ("ansible_password", "ansible_ssh_pass")
    return replace(
        host, variables={name: value for name, value in host.variables.items() if name not in gone}
    )


def with_key_only(host: Host, key: OperatorKey) -> Host:
    """Return the host, to be reached by a key and nothing else."""
    gone = ("ansible_ssh_pass", "ansible_private_key_file")
    kept = {name: value for name, value in host.variables.items() if name not in gone}
    return _with_variables(
        replace(host, variables=kept),
        {"ansible_password": None, "ansible_ssh_private_key_file": str(key.private)},
    )


def explain_refusal(host: Host) -> str:
    """Return why the host's own variables do not connect to it; empty where they do."""
    key = render_variable(host, "ansible_ssh_private_key_file")
    # A key in ssh-agent must not log in instead of the key under test.
    agent = key is not None and OperatorKey(Path(str(key)).expanduser(), "").locked
    config = Config(overrides={"connect_kwargs": {"allow_agent": agent}})
    connection = RigConnection(host, config, accept_new=False, ask=lambda question: "")
    try:
        connection.open()
        return "" if Shell(connection).run("true").status == 0 else "it logs in, but runs nothing"
    except DeeprigError as error:
        return error.message
    finally:
        connection.close()


def install_key(shell: Shell, key: OperatorKey, check: bool) -> bool:
    """Let the key in; whether it was not let in before. Raises DeeprigError."""
    blob, line = shlex.quote(key.blob), shlex.quote(key.line)
    file = '"$HOME/.ssh/authorized_keys"'
    done = shell.run(
        f"if grep -v '^#' {file} 2>/dev/null | grep -qF -- {blob}; then echo there; exit; fi;"
        + (
            "echo missing"
            if check
            else f' umask 077; mkdir -p "$HOME/.ssh" &&'
            # A last line without its end would run into ours.
            f' {{ [ -z "$(tail -c 1 {file} 2>/dev/null)" ] || echo >> {file}; }} &&'
            f" printf '%s\\n' {line} >> {file} && echo added"
        )
    )
    outcome = done.out.decode("utf-8", "replace").strip()
    if outcome not in ("there", "missing", "added"):
        raise DeeprigError(
            f"the key can't be installed: {done.last_words or 'no answer'}",
            advice="Is the rig's disk read-only or full?",
        )
    return outcome != "there"


def set_passwords(root: RootShell, passwords: Mapping[str, str]) -> ShellResult:
    """Give users other passwords."""
    return root.run(
        "chpasswd", content="".join(f"{user}:{password}\n" for user, password in passwords.items())
    )


def close(root: RootShell) -> str:
    """Disable password logins; return why that failed, or an empty text."""
    done = root.run(CLOSE)
    return "" if done.status == 0 else done.last_words or "sshd would not take it"


def reopen(root: RootShell) -> None:
    """Take back what `close` did."""
    root.run(OPEN)


def _with_variables(host: Host, variables: Mapping[str, Any]) -> Host:
    return replace(host, variables={**host.variables, **variables})

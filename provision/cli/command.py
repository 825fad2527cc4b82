"""`fab -H HOST -- command`: one shell command on every host that -H names."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from fabric import Config
from invoke.exceptions import Exit

from provision.errors import DeeprigError, describe
from provision.inventory.hosts import Host
from provision.output.redaction import Redactor, secrets_of
from provision.output.terminal import Terminal
from provision.ssh.connection import RigConnection
from provision.ssh.fanout import run_on_hosts
from provision.ssh.shell import LONGEST_RUN, Shell


def run_command(hosts: Sequence[Host], config: Config, command: str) -> None:
    """Run it on all hosts at once, as the users who log in, and show their lines by name.

    Raises Exit with the highest of their statuses.
    """
    terminal, errors = Terminal(), Terminal(error=True)
    redactor = Redactor(word for host in hosts for word in secrets_of(host.variables))
    width = max(len(host.name) for host in hosts)
    lock = threading.Lock()

    def run_on(host: Host) -> int:
        def show(line: str) -> None:
            with lock:
                terminal.print(f"{host.name:<{width}}  {redactor.text(line)}")

        shell = Shell(RigConnection(host, config))
        try:
            done = shell.run(command, show, silence=LONGEST_RUN, longest=LONGEST_RUN)
        finally:
            shell.close()
        for line in done.error.decode("utf-8", "replace").splitlines():
            with lock:
                errors.print(f"{host.name:<{width}}  {redactor.text(line)}")
        return done.status

    worst = 0
    for name, answer in run_on_hosts(hosts, run_on).items():
        if isinstance(answer, DeeprigError):
            errors.print(redactor.text(describe(answer, name)), style="red")
        worst = max(worst, answer.status if isinstance(answer, DeeprigError) else answer)
    if worst:
        raise Exit(code=worst)

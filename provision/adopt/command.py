"""`fab adopt`: prompt for what is missing, adopt each rig of -H, and print the next step."""

from __future__ import annotations

import contextlib
import getpass
import json
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from fabric import Config
from invoke.exceptions import Exit

from provision.adopt import logins, records
from provision.adopt.adoption import Adoption, AdoptOptions, Login
from provision.adopt.steps import AdoptionReport
from provision.errors import DeeprigError, RefusedError, describe
from provision.inventory.hosts import Host, Inventory
from provision.output.terminal import Terminal
from provision.ssh.connection import RigConnection
from provision.ssh.fanout import attempt
from provision.templating.host_variables import render_variable

if TYPE_CHECKING:
    from provision.cli.flags import Flags
    from provision.cli.fleet import FleetContext


def adopt(context: FleetContext, flags: Flags, user: str, wish: AdoptOptions) -> None:
    """Adopt rigs, one after the other. Raises DeeprigError, Exit."""
    inventory, hosts = context.fleet(flags)
    if wish.name and len(hosts) > 1:
        raise DeeprigError(f"--name names one rig, and -H names {len(hosts)}")
    console = None if flags.json else Terminal()
    reports, status = [], 0
    for host in hosts:
        host = _with_known_variables(host, inventory, user)
        report = AdoptionReport(host.name, console)
        reports.append(report)

        def adopt_host(host: Host, report: AdoptionReport) -> None:
            login = _login(host, flags, context.config)
            Adoption(inventory, context.config, wish, report, login).run()

        failure = attempt(adopt_host, host, report)
        if isinstance(failure, DeeprigError):
            report.add("error", "failed", describe(failure))
            status = max(status, failure.status)
        if report.failed:
            status = max(status, 2)
        elif console is not None:
            verb = "fab adopt without --check" if wish.check else f"fab assess -H {report.name}"
            console.print(f"Next: {verb}")
    if flags.json:
        print(json.dumps([report.document() for report in reports], indent=2))
    if status:
        raise Exit(code=status)


def _with_known_variables(host: Host, inventory: Inventory, user: str) -> Host:
    """Return the host with the inventory's variables for its address, and the login."""
    known_host = records.find_known_host(inventory, host)
    variables = {**(known_host.variables if known_host else {}), **host.variables}
    return replace(host, variables={**variables, **({"ansible_user": user} if user else {})})


def _login(host: Host, flags: Flags, config: Config) -> Login:
    """Return the passwords of the login and of sudo; prompt where only a password works."""
    login = render_variable(host, "ansible_password", "ansible_ssh_pass")
    login = config.connect_kwargs.get("password") if login is None else login
    sudo = render_variable(host, "ansible_become_password", "ansible_become_pass")
    sudo = config.sudo.password if sudo is None else sudo
    if login is None:
        login = _ask_password(host, flags, config)
    elif refused := _find_refusal(logins.with_password_only(host, str(login)), flags, config):
        # A rig may have another password by now, and know the operator's key.
        host = logins.without_password(host)
        if _find_refusal(host, flags, config):
            raise RefusedError(
                refused.message, advice="Set the user with --user, and the key with -i FILE."
            )
        return Login(host, None, None if sudo is None else str(sudo), refused=True)
    password = None if login is None else str(login)
    return Login(host, password, password if sudo is None else str(sudo))


def _ask_password(host: Host, flags: Flags, config: Config) -> str | None:
    """Return the password, from the terminal; None where a key opens."""
    refused = _find_refusal(host, flags, config)
    if refused is None:
        return None
    offered = logins.offered_methods(host)
    if not logins.takes_passwords(offered):
        raise RefusedError(
            f"{refused.message}, and it takes no password ({', '.join(offered)} only)",
            advice="Name a key that it knows: -i FILE.",
        )
    if sys.stdin.isatty():
        who = f"{render_variable(host, 'ansible_user') or 'you'} at {host.name}"
        with contextlib.suppress(EOFError):
            return getpass.getpass(f"Password of {who}: ")
        print()
    raise RefusedError(
        f"{refused.message}, and no password is given",
        advice="Run at a terminal to be asked, or give it by -e @FILE (ansible_password).",
    )


def _find_refusal(host: Host, flags: Flags, config: Config) -> RefusedError | None:
    """Return whether the login needs a password. Raises UnreachableError for other failures."""
    connection = RigConnection(host, config, flags.accept_new)
    try:
        connection.open()
    except RefusedError as error:
        return error
    finally:
        connection.close()
    return None

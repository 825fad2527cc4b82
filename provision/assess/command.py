"""`fab assess`: inspect each rig and show its assessment. Read-only."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from invoke.exceptions import Exit

from provision.assess import assessment, html, show
from provision.assess import gpu_load as loads
from provision.assess.assessment import Assessment
from provision.cli.answers import show_answers
from provision.discovery.known_passwords import find_known_passwords
from provision.discovery.survey import take_survey
from provision.engine.run_options import extra_variables
from provision.errors import SourceError
from provision.inventory.hosts import Host
from provision.output import files
from provision.output.redaction import Redactor, secrets_of
from provision.output.terminal import Terminal
from provision.ssh.connection import RigConnection
from provision.ssh.fanout import run_on_hosts
from provision.ssh.rig_sessions import sudo_password
from provision.ssh.shell import RootShell
from provision.templating.host_variables import render_variable

if TYPE_CHECKING:
    from provision.cli.flags import Flags
    from provision.cli.fleet import FleetContext


def assess(context: FleetContext, flags: Flags, page: str, load: bool) -> None:
    """Assess all rigs that -H names. Raises Exit, SourceError.

    page: write it as HTML there. load: put the GPUs to work for some seconds, and look at them
    then.
    """
    files.check_named("--html", page)
    inventory, hosts = context.fleet(flags)
    if page and len(hosts) > 1:
        raise SourceError(f"--html is one rig's file, and -H names {len(hosts)}")
    extra = extra_variables(flags.e)

    def assess_host(host: Host) -> Assessment:
        began = time.time()
        connection = RigConnection(host, context.config, flags.accept_new)
        password = sudo_password(host, context.config)
        try:
            connection.open()
            loaded = (
                loads.measure_hottest(RootShell(connection, password), host.name) if load else []
            )
            with take_survey(connection, password) as seen:
                login = (
                    str(render_variable(host, "ansible_user", "ansible_ssh_user") or ""),
                    password,
                )
                root = RootShell(connection, password)
                shared = find_known_passwords(root, *login) if seen.as_root else None
                made = assessment.assess_rig(seen, host, inventory, extra, loaded, shared)
        finally:
            connection.close()
        return replace(made, taken_at=began, seconds=time.time() - began)

    with Terminal(error=True).status("Looking" + (f", {loads.SECONDS} s of load" if load else "")):
        assessments = run_on_hosts(hosts, assess_host)
    console = Terminal()
    variables = {host.name: host.variables for host in hosts}
    documents = {}

    def show_one(name: str, made: Assessment) -> None:
        documents[name] = Redactor(secrets_of(variables[name])).value(made.document())
        if not flags.json:
            show.show_assessment(made, console, everything=flags.verbose)
        if page:
            files.write_named("--html", page, html.render(made))
            if not flags.json:
                console.print(f"\n  {page}")

    status = show_answers(assessments, show_one)
    if flags.json:
        print(json.dumps(documents, indent=2))
    if status:
        raise Exit(code=status)

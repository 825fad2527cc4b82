"""Run plays over many hosts at once; each goes its own way, and a failure of one stops no other."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TextIO

from provision.engine.host_run import HostRun
from provision.engine.reports.run_log import RunLog
from provision.engine.reports.run_report import RunReport
from provision.engine.results import Recap, Status
from provision.engine.run_options import RunOptions
from provision.engine.tasks import Play
from provision.engine.variables import HostVariables
from provision.errors import DeeprigError, PatternError, SourceError
from provision.inventory.hosts import Host, Inventory
from provision.output.redaction import Redactor, secrets_of
from provision.paths import LOG
from provision.ssh.fanout import run_on_hosts
from provision.ssh.rig_sessions import Sessions
from provision.templating.names import names_in, names_in_conditions


def run_plays(
    plays: list[Play],
    hosts: list[Host],
    sessions: Mapping[str, Sessions],
    inventory: Inventory,
    options: RunOptions,
    *,
    verb: str,
    as_json: bool = False,
    verbose: bool = False,
    stream: TextIO | None = None,
    log_folder: Path = LOG,
) -> list[Recap]:
    """Play on every host that both -H and the play's `hosts` name; a recap for each."""
    redactor = Redactor(collect_secrets(plays, hosts, options))
    for host_sessions in sessions.values():
        redactor.add(*host_sessions.secrets)
    names = [host.name for host in hosts]
    work = {host.name: _plays_of(host, plays, inventory, names) for host in hosts}
    began = time.monotonic()
    with (
        RunLog(log_folder, verb, names) as log,
        RunReport(names, redactor, log, stream, as_json=as_json, verbose=verbose) as report,
    ):
        runs = {
            host.name: _host_run(host, sessions[host.name], inventory, options, report, redactor)
            for host in hosts
        }

        def stop() -> None:
            report.cancel()
            for host_run in runs.values():
                host_run.stop()

        try:
            answers = run_on_hosts(
                hosts,
                lambda host: runs[host.name].run(work[host.name]),
                meanwhile=lambda: _compile_templates(plays),
                on_interrupt=stop,
            )
        except KeyboardInterrupt:
            for name in names:
                log.note(name, "interrupted by the operator")
            raise
        recaps = [_recap_of(name, answer) for name, answer in answers.items()]
        report.recap(recaps, time.monotonic() - began)
    return recaps


def _recap_of(name: str, answer: Recap | DeeprigError) -> Recap:
    """Return a host's recap, also where its run broke."""
    if isinstance(answer, Recap):
        return answer
    counts = Counter({Status.FAILED: 1})
    return Recap(name, counts, answer.message, status=answer.status)


def collect_secrets(plays: list[Play], hosts: list[Host], options: RunOptions) -> Iterator[str]:
    """Yield what inventory, command line and plays call secrets; no template is rendered."""
    for host in hosts:
        for written in ({}, *(play.variables for play in plays)):
            layers = [host.variables, written, options.extra]
            scope = {name: value for layer in layers for name, value in layer.items()}
            for layer in layers:
                yield from secrets_of(layer, scope)


def _compile_templates(plays: list[Play]) -> None:
    """Compile what will be rendered later, to find its names; rendering reports what is wrong."""
    for play in plays:
        names_in(tuple(play.variables.values()))
        for task in play.tasks:
            names_in((*task.scope.variables.values(), task.args, task.loop))
            judged = (*(task.changed_when or ()), *(task.failed_when or ()))
            names_in_conditions((*task.scope.when, *judged))


def _host_run(
    host: Host,
    sessions: Sessions,
    inventory: Inventory,
    options: RunOptions,
    report: RunReport,
    redactor: Redactor,
) -> HostRun:
    sessions.ask = report.ask
    variables = HostVariables(
        host, inventory, options.extra, options.check, options.diff, redactor.add
    )
    return HostRun(host, variables, sessions, options, report)


def _plays_of(host: Host, plays: list[Play], inventory: Inventory, named: list[str]) -> list[Play]:
    """Return the plays whose `hosts` name this host. Raises SourceError for an unknown host."""
    mine = []
    for play in plays:
        if play.hosts == "all" or host.name in play.hosts.split(","):
            mine.append(play)
            continue
        try:
            selected = inventory.select([play.hosts])
        except PatternError as error:
            raise SourceError(f"hosts: {error.message}", play.position, error.advice) from None
        selected_names = {selected_host.name for selected_host in selected}
        unknown = selected_names - {*inventory.hosts, *named}
        if unknown:  # Ansible would play it there, on localhost above all
            raise SourceError(
                f"hosts: '{unknown.pop()}' is neither in the inventory nor named by -H",
                play.position,
                "deeprig plays on rigs, over SSH. Name the host there, or play this with Ansible.",
            )
        if host.name in selected_names:
            mine.append(play)
    return mine

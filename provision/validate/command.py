"""`fab validate`: run the suite on every rig at once, print the failures, save the reports."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fabric import Config
from invoke.exceptions import Exit

from provision.cli.flags import Flags
from provision.cli.fleet import FleetContext
from provision.errors import (
    DeeprigError,
    ExitStatus,
    SourceError,
    describe,
    shown_path,
)
from provision.inventory.hosts import Host
from provision.output import files
from provision.output.redaction import Redactor, secrets_of
from provision.output.terminal import Terminal
from provision.paths import LOG
from provision.ssh.connection import RigConnection
from provision.ssh.fanout import attempt, run_on_hosts
from provision.validate import baseline, html, show
from provision.validate.baseline import MetricChange
from provision.validate.documents import ValidationReport
from provision.validate.suite import SuiteOptions, SuiteRun


@dataclass(frozen=True)
class ValidationResult:
    """One rig's: a report, or why there is none, or why it is not of all checks."""

    host: str
    folder: Path
    document: ValidationReport | None = None
    error: DeeprigError | None = None


def validate(
    context: FleetContext,
    flags: Flags,
    quick: bool = False,
    baselines: Sequence[str] = (),
    report: str = "",
    select: str = "",
) -> None:
    """Validate all rigs that -H named. Raises Exit with the highest status (ExitStatus)."""
    _, hosts = context.fleet(flags)
    earlier = [baseline.load(Path(file)) for file in baselines]
    if earlier and len(hosts) > 1:
        raise SourceError(
            f"--baseline is of one rig, and -H names {len(hosts)}",
            advice="Compare them one by one.",
        )
    stamp = time.strftime("%Y%m%d-%H%M%S")
    folder = Path(report).absolute() if report else LOG / f"validate-{stamp}"
    wanted = SuiteOptions(quick, flags.inventory, tuple(flags.e), select)
    redactor = Redactor(word for host in hosts for word in secrets_of(host.variables))
    results = run_suites(hosts, wanted, context.config, flags, folder, redactor)
    changes = {
        result.host: baseline.compare(earlier, result.document)
        for result in results
        if earlier and result.document is not None
    }
    results = [_keep_report(result, changes.get(result.host)) for result in results]
    print_results(results, changes, flags)
    _leave(results, changes)


def run_suites(
    hosts: Sequence[Host],
    wanted: SuiteOptions,
    config: Config,
    flags: Flags,
    folder: Path,
    redactor: Redactor,
) -> list[ValidationResult]:
    """Validate all rigs at once. Ctrl-C ends what runs on them, and goes on to the caller."""
    runs = {host.name: SuiteRun(host.name, wanted, config, folder / host.name) for host in hosts}
    with show.Watch(list(runs), redactor, quiet=flags.json) as watch:

        def validate_host(host: Host) -> ValidationResult:
            suite = runs[host.name]
            try:
                _greet(host, config, flags)
                document = suite.run(lambda event: watch.event(host.name, event))
                return ValidationResult(
                    host.name, suite.folder, redactor.value(document), suite.lost
                )
            finally:
                watch.done(host.name)

        def stop() -> None:
            run_on_hosts(hosts, lambda host: runs[host.name].stop())

        answers = run_on_hosts(hosts, validate_host, on_interrupt=stop)
    return [
        answer
        if isinstance(answer, ValidationResult)
        else ValidationResult(name, runs[name].folder, error=answer)
        for name, answer in answers.items()
    ]


def _greet(host: Host, config: Config, flags: Flags) -> None:
    """Connect once from here, where a question about the host key can be answered."""
    with RigConnection(host, config, flags.accept_new) as connection:
        connection.open()


def _keep_report(result: ValidationResult, changes: list[MetricChange] | None) -> ValidationResult:
    """Write a result's report here; return the result, with the error of a failed write."""
    if result.document is None:
        return result
    failure = attempt(write_report, result, changes)
    return replace(result, error=failure) if isinstance(failure, DeeprigError) else result


def write_report(result: ValidationResult, changes: list[MetricChange] | None) -> None:
    """Write what is made of the report here: its page, and the document without secrets."""
    assert result.document is not None
    document = json.dumps(result.document, indent=1) + "\n"
    files.write(result.folder / "report.json", document, 0o600)
    page = html.render(result.document, changes)
    files.write(result.folder / "report.html", page, 0o600)


def print_results(
    results: Sequence[ValidationResult], changes: Mapping[str, list[MetricChange]], flags: Flags
) -> None:
    """Print the tables and one line a rig, or one JSON document."""
    errors = Terminal(error=True)
    for result in results:
        if result.error is not None:
            errors.print(describe(result.error, result.host), style="red")
    if flags.json:
        documents = {
            result.host: result.document for result in results if result.document is not None
        }
        print(json.dumps(documents, indent=2))
        return
    console = Terminal(soft_wrap=False)
    documents_here = [result for result in results if result.document is not None]
    for result in documents_here:
        assert result.document is not None
        show.table(result.document, console, flags.verbose)
        if result.host in changes:
            show.changes(result.host, changes[result.host], console)
        console.print()
    for result in documents_here:
        assert result.document is not None
        console.print(
            show.summary(result.document, shown_path(str(result.folder / "report.html"))),
            soft_wrap=True,
        )


def _leave(results: Sequence[ValidationResult], changes: Mapping[str, list[MetricChange]]) -> None:
    """Raise Exit with the highest status, unless it is 0."""
    is_worse = any(
        change.direction == "worse" for host_changes in changes.values() for change in host_changes
    )
    is_critical = any(
        result.document and result.document["counts"]["critical"] for result in results
    )
    statuses = [result.error.status for result in results if result.error is not None]
    if is_critical or is_worse:
        statuses.append(ExitStatus.FINDINGS)
    if statuses:
        raise Exit(code=max(statuses))

"""`fab validate`: run the suite on every rig at once, tell what does not hold, keep the reports."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fabric import Config
from invoke.exceptions import Exit

from provision.cli import fanout
from provision.cli.flags import Flags
from provision.cli.fleet import FleetContext
from provision.errors import (
    DeeprigError,
    LostError,
    SourceError,
    UnreachableError,
    describe,
    shown_path,
)
from provision.inventory.hosts import Host
from provision.output import files
from provision.output.redaction import Redactor, secrets_of
from provision.output.terminal import Terminal
from provision.paths import LOG
from provision.ssh.connection import RigConnection
from provision.validate import baseline, html, show
from provision.validate.baseline import Change
from provision.validate.suite import SuiteRun, Wanted

FORKS = 16  # rigs at work at once
FAILED, UNREACHABLE = 1, 4  # exit statuses


@dataclass(frozen=True)
class Result:
    """One rig's: a report, or why there is none, or why it is not of all checks."""

    host: str
    folder: Path
    document: Mapping[str, Any] | None = None
    error: DeeprigError | None = None


def validate(
    context: FleetContext,
    flags: Flags,
    quick: bool = False,
    baselines: Sequence[str] = (),
    report: str = "",
    select: str = "",
) -> None:
    """Validate all rigs that -H named; ends with status 1 when a check is critical, and 4 when a
    rig can't be reached or is lost.
    """
    _, hosts = context.fleet(flags)
    earlier = [baseline.load(Path(file)) for file in baselines]
    if earlier and len(hosts) > 1:
        raise SourceError(
            f"--baseline is of one rig, and -H names {len(hosts)}",
            advice="Compare them one by one.",
        )
    stamp = time.strftime("%Y%m%d-%H%M%S")
    folder = Path(report).absolute() if report else LOG / f"validate-{stamp}"
    wanted = Wanted(quick, flags.inventory, tuple(flags.e), select)
    redactor = Redactor(word for host in hosts for word in secrets_of(host.variables))
    results = run(hosts, wanted, context.config, flags, folder, redactor)
    changes = {
        result.host: baseline.compare(earlier, result.document)
        for result in results
        if earlier and result.document is not None
    }
    results = [_kept(result, changes.get(result.host)) for result in results]
    tell(results, changes, flags)
    _leave(results, changes)


def run(
    hosts: Sequence[Host],
    wanted: Wanted,
    config: Config,
    flags: Flags,
    folder: Path,
    redactor: Redactor,
) -> list[Result]:
    """All rigs at once. Ctrl-C ends what runs on them before it goes on to its caller."""
    runs = {host.name: SuiteRun(host.name, wanted, config, folder / host.name) for host in hosts}
    names = list(runs)
    with show.Watch(names, redactor, quiet=flags.json) as watch, ThreadPoolExecutor(FORKS) as pool:

        def one(host: Host) -> Result:
            suite = runs[host.name]
            try:
                _greet(host, config, flags)
                document = suite.run(lambda event: watch.event(host.name, event))
                return Result(host.name, suite.folder, redactor.value(document), suite.lost)
            except DeeprigError as error:
                return Result(host.name, suite.folder, error=error)
            finally:
                watch.done(host.name)

        futures = [pool.submit(one, host) for host in hosts]
        try:
            return [future.result() for future in futures]
        except KeyboardInterrupt:
            for future in futures:
                future.cancel()
            with ThreadPoolExecutor(FORKS) as ending:
                list(ending.map(SuiteRun.stop, runs.values()))
            raise


def _greet(host: Host, config: Config, flags: Flags) -> None:
    """Connect once from here, where a question about the host key can be answered."""
    with RigConnection(host, config, flags.accept_new) as connection:
        connection.open()


def _kept(result: Result, changes: list[Change] | None) -> Result:
    """The result, with its report written here; an error that keeps it from that is its own."""
    if result.document is None:
        return result
    failure = fanout.attempt(keep, result, changes)
    return replace(result, error=failure) if isinstance(failure, DeeprigError) else result


def keep(result: Result, changes: list[Change] | None) -> None:
    """Write what is made of the report here: its page, and the document without secrets."""
    assert result.document is not None
    document = json.dumps(result.document, indent=1) + "\n"
    files.write(result.folder / "report.json", document, 0o600)
    page = html.render(result.document, changes)
    files.write(result.folder / "report.html", page, 0o600)


def tell(results: Sequence[Result], changes: Mapping[str, list[Change]], flags: Flags) -> None:
    """Print the tables and one line a rig, or one JSON document."""
    errors = Terminal(error=True)
    for result in results:
        if result.error is not None:
            errors.print(describe(result.error, result.host), style="red")
    if flags.json:
        documents = {one.host: one.document for one in results if one.document is not None}
        print(json.dumps(documents, indent=2))
        return
    console = Terminal(soft_wrap=False)
    documents_here = [one for one in results if one.document is not None]
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


def _leave(results: Sequence[Result], changes: Mapping[str, list[Change]]) -> None:
    """Exit with the worst status."""
    worse = any(change.direction == "worse" for found in changes.values() for change in found)
    critical = any(one.document and one.document["counts"]["critical"] for one in results)
    broken = [one.error for one in results if one.error is not None]
    if any(isinstance(error, (UnreachableError, LostError)) for error in broken):
        raise Exit(code=UNREACHABLE)
    if critical or worse or broken:
        raise Exit(code=FAILED)

"""`fab bench`: the rig's own benchmarks (agent/bench), from here; one rig, many, or many as one.

What runs on the rig is `/opt/deeprig/bin/deeprig-bench`, a unit of systemd's: it ends when the
connection does, so that nothing is left running.
"""

from __future__ import annotations

import json
import shlex
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from invoke.exceptions import Exit
from rich.text import Text

from provision.boundary.decode import check_type, parse_json
from provision.boundary.documents import BENCH_EVENTS, BenchEvent, BenchReport, check_bench
from provision.cli.flags import Flags
from provision.cli.fleet import FleetContext
from provision.errors import DeeprigError, ExitStatus, PatternError, describe, shown_path
from provision.inventory.hosts import Host
from provision.output import files
from provision.output.redaction import Redactor, secrets_of
from provision.output.terminal import Terminal
from provision.paths import BENCH_PROGRAM, LOG, RIG_STATE
from provision.ssh.connection import RigConnection
from provision.ssh.fanout import FORKS, run_on_hosts
from provision.ssh.rig_sessions import sudo_password
from provision.ssh.shell import LONGEST_RUN, RootShell
from provision.templating.host_variables import render_variable

RENDEZVOUS_PORT = 29400  # torchrun's own default
#: Seconds without a line. The benchmarks have and report deadlines; but pairs are
#: printed all at once, and many GPUs behind x1 risers have hundreds of them.
SILENCE = 1200.0
UNUSABLE = 4  # the exit status of deeprig-bench where it can measure nothing
CUT_OFF = -1  # the connection ended before the command did (ShellResult.status)


@dataclass(frozen=True)
class BenchRequest:
    """What to run. parts: names of docs/bench.md, all of the plan's when empty.

    nodes: as how many rigs' ranks one world; 1 is each rig for itself.
    """

    plan: str = "full"
    parts: tuple[str, ...] = ()
    ranks: int = 0
    nodes: int = 1
    interface: str = ""
    sizes: Mapping[str, str] = field(default_factory=dict)

    def command(self, node: int = 0, rendezvous: str = "") -> str:
        """Return the command for the rig of that number."""
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        words = [BENCH_PROGRAM, *self.parts, "--plan", self.plan, "--events"]
        words += ["--output", f"{RIG_STATE}/bench/{stamp}.json", "--results", f"{RIG_STATE}/nccl"]
        words += ["--ranks", str(self.ranks)] if self.ranks else []
        words += [word for name, value in self.sizes.items() for word in (f"--{name}", value)]
        if self.nodes > 1:
            words += ["--nodes", str(self.nodes), "--node-rank", str(node)]
            words += ["--rendezvous", rendezvous]
            words += ["--interface", self.interface] if self.interface else []
        return shlex.join(words)


class Screen:
    """Lines of all rigs, as they come; named where there are several."""

    def __init__(self, hosts: Sequence[Host], quiet: bool) -> None:
        self._console = Terminal(quiet=quiet)
        self._redactor = Redactor(word for host in hosts for word in secrets_of(host.variables))
        self._width = max(len(host.name) for host in hosts) if len(hosts) > 1 else 0
        self._lock = threading.Lock()

    def event(self, host: str, event: BenchEvent) -> None:
        """Show a line of a table, or that a part begins or did not go well."""
        if event["event"] == "begin":
            self.line(host, f"# {event['part']} ({event['number']} of {event['of']})", "bold")
        elif event["event"] == "line":
            self.line(host, event["text"])
        elif event["event"] == "end" and event["status"] != "ok":
            style = "bright_black" if event["status"] == "skipped" else "bold red"
            self.line(host, f"# {event['part']} {event['status']}: {event['reason']}", style)

    def line(self, host: str, text: str, style: str = "") -> None:
        """Print one line of one rig."""
        prefix = f"{host:<{self._width}}  " if self._width else ""
        with self._lock:
            self._console.print(Text(prefix + self._redactor.text(text), style))


@dataclass(frozen=True)
class BenchResult:
    """One rig's: its document where there is one, and how it ended.

    is_cut_off: the connection ended before the benchmarks did.
    """

    host: str
    status: int
    document: BenchReport | None = None
    error: DeeprigError | None = None
    is_cut_off: bool = False


def bench(context: FleetContext, flags: Flags, request: BenchRequest) -> None:
    """Run the benchmarks on all rigs that -H named; ends with the worst of their statuses."""
    _, hosts = context.fleet(flags)
    if request.nodes > len(hosts):
        raise PatternError(
            f"--nodes {request.nodes} needs as many rigs, and -H names {len(hosts)}",
            advice="Name more with -H, or leave --nodes out: each rig then runs for itself.",
        )
    if request.nodes > 1:
        hosts = hosts[: request.nodes]
    address = str(render_variable(hosts[0], "ansible_host") or hosts[0].name)
    rendezvous = f"{address}:{RENDEZVOUS_PORT}"
    screen = Screen(hosts, quiet=flags.json)
    shells = {
        host.name: RootShell(
            RigConnection(host, context.config, flags.accept_new),
            sudo_password(host, context.config),
        )
        for host in hosts
    }

    nodes = {host.name: node for node, host in enumerate(hosts)}

    def run_host(host: Host) -> BenchResult:
        command = request.command(nodes[host.name], rendezvous)
        return _run(shells[host.name], host.name, command, screen)

    def end_world(name: str, answer: BenchResult | DeeprigError) -> None:
        """End all rigs of a job when one fails: the others would wait for it."""
        if request.nodes > 1 and not (isinstance(answer, BenchResult) and answer.status == 0):
            close_all()

    def close_all() -> None:
        for shell in shells.values():
            shell.close()  # the rig sees the end of its input, and ends what runs

    try:
        answers = run_on_hosts(
            hosts,
            run_host,
            forks=len(hosts) if request.nodes > 1 else FORKS,  # the ranks of a world start together
            on_answer=end_world,
            on_interrupt=close_all,
        )
    finally:
        close_all()
    results = [
        answer
        if isinstance(answer, BenchResult)
        else BenchResult(name, answer.status, error=answer)
        for name, answer in answers.items()
    ]
    if request.nodes > 1:
        results = _name_cause(results)
    _save_and_report(results, flags)
    status = max(result.status for result in results)
    if status:
        raise Exit(code=status)


def _name_cause(results: Sequence[BenchResult]) -> list[BenchResult]:
    """Return a job's results; a rig that was stopped because another failed reports that."""
    cause = next((result for result in results if result.status and not result.is_cut_off), None)
    if cause is None:
        return list(results)
    error = DeeprigError(f"stopped, because {cause.host} failed")
    return [
        replace(result, status=cause.status, error=error)
        if result.is_cut_off and result.document is None
        else result
        for result in results
    ]


def _run(shell: RootShell, host: str, command: str, screen: Screen) -> BenchResult:
    documents: list[BenchReport] = []

    def line(text: str) -> None:
        if not text.startswith("{"):
            screen.line(host, text)
            return
        content = parse_json(text)
        kind = BENCH_EVENTS.get(content.get("event"))
        if kind is None:
            return  # of a newer deeprig-bench
        event = check_type(content, kind, "progress")
        if event["event"] == "document":
            documents.append(check_bench(event["document"]))
        screen.event(host, event)

    try:
        if shell.run(f"test -x {BENCH_PROGRAM}").status != 0:
            return BenchResult(host, ExitStatus.ERROR, error=_missing_error(host))
        done = shell.run(command, line, silence=SILENCE, longest=LONGEST_RUN)
    except DeeprigError as error:
        return BenchResult(host, error.status, error=error)
    document = documents[-1] if documents else None
    result = BenchResult(host, _status_of(done.status), document, is_cut_off=done.status == CUT_OFF)
    if result.document is not None:
        return result
    reason = done.last_words or f"the benchmarks ended with status {done.status}"
    if result.is_cut_off:
        reason = "the connection ended before the benchmarks did"
    status = result.status or ExitStatus.FINDINGS  # a 0 without a document is not a success
    return replace(result, status=status, error=DeeprigError(reason))


def _status_of(status: int) -> int:
    """Return the exit status for that of deeprig-bench on the rig."""
    return {CUT_OFF: ExitStatus.UNREACHABLE, UNUSABLE: ExitStatus.ERROR}.get(status, status)


def _missing_error(host: str) -> DeeprigError:
    return DeeprigError(
        "the benchmarks are not installed on this rig",
        advice=f"Bring them: fab provision -H {host} --tags pytorch,agent,validation",
    )


def _save_and_report(results: Sequence[BenchResult], flags: Flags) -> None:
    """Save the documents, print their paths and all problems."""
    errors = Terminal(error=True)
    files.make_private(LOG)
    stamp = time.strftime("%Y%m%d-%H%M%S")
    for result in results:
        if result.error is not None:
            errors.print(describe(result.error, result.host), style="red")
            continue
        assert result.document is not None
        for problem in result.document["problems"]:
            text = f"{problem['part']}: {problem['message']}. {problem.get('advice', '')}"
            errors.print(f"{result.host}: {text}".rstrip(), style="red")
        path = LOG / f"{stamp}-bench-{result.host}.json"
        files.write(path, json.dumps(result.document, indent=1) + "\n", 0o600)
        if not flags.json:
            print(f"{result.host}: {shown_path(str(path))}")
    if flags.json:
        documents = {
            result.host: result.document for result in results if result.document is not None
        }
        json.dump(documents, sys.stdout, indent=2)
        print()

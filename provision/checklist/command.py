"""`fab checklist`: looks at each rig, asks once what can't be seen, and shows what is to do."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from invoke.exceptions import Exit

from provision.boundary.decode import check_type, parse_json
from provision.boundary.documents import AgentDocument, AgentPath
from provision.boundary.text import clean_line
from provision.checklist import answer_file, checklist, items, page, show
from provision.checklist import configuration as cases
from provision.checklist.checklist import Checklist, ChecklistDocument
from provision.checklist.configuration import RigConfiguration
from provision.cli.answers import show_answers
from provision.discovery import plan, target
from provision.discovery.survey import ansible_facts, take_survey
from provision.engine.run_options import extra_variables
from provision.errors import DeeprigError, SourceError
from provision.hardware import power
from provision.inventory.hosts import Host, Inventory
from provision.output import files
from provision.output.terminal import Terminal
from provision.remote import ask as asked
from provision.ssh.connection import RigConnection
from provision.ssh.fanout import attempt, run_on_hosts
from provision.ssh.rig_sessions import sudo_password
from provision.ssh.shell import RootShell

if TYPE_CHECKING:
    from provision.cli.flags import Flags
    from provision.cli.fleet import FleetContext

ANSWERS = {"yes": True, "y": True, "true": True, "no": False, "n": False, "false": False}
ASK = Path(asked.__file__).read_text(encoding="utf-8")  # the program that asks the agent
Ask = Callable[[str], str]


@dataclass(frozen=True)
class ChecklistOptions:
    """The verb's own flags, as fabfile.py has them."""

    board: str = ""
    cpu: str = ""
    gpus: str = ""
    psus: str = ""
    ask: bool = False
    answer: Sequence[str] = ()
    html: str = ""
    markdown: str = ""


def show_checklists(context: FleetContext, flags: Flags, wish: ChecklistOptions) -> None:
    """Show the checklist of each rig of -H, or of a rig described by flags. Raises Exit."""
    given = answers_of(wish.answer)
    files.check_named("--html", wish.html)
    files.check_named("--markdown", wish.markdown)
    if not (flags.H or context.patterns):
        if not (wish.board or wish.cpu or wish.gpus):
            raise SourceError(
                "no rig is named", advice='Use -H NAME, or --board "B450 Steel Legend".'
            )
        described = cases.from_words(wish.board, wish.cpu, wish.gpus, wish.psus)
        if status := _show({"": checklist.make_checklist(described, given)}, flags, wish):
            raise Exit(code=status)
        return
    rig_flags = {"board": wish.board, "cpu": wish.cpu, "gpus": wish.gpus, "psus": wish.psus}
    if given_too := [f"--{name}" for name, value in rig_flags.items() if value]:
        raise SourceError(
            f"{', '.join(given_too)}: -H names a rig, which is looked at",
            advice="Use one of the two. A rig's power supplies are set in the inventory: "
            "psus: [750, 750].",
        )
    inventory, hosts = context.fleet(flags)
    if (wish.html or wish.markdown) and len(hosts) > 1:
        raise SourceError(f"a page is of one rig, and -H names {len(hosts)}")

    def read_configuration(host: Host) -> RigConfiguration:
        connection = RigConnection(host, context.config, flags.accept_new)
        try:
            connection.open()
            return _case(connection, host, inventory, flags, sudo_password(host, context.config))
        finally:
            connection.close()

    with Terminal(error=True).status("Looking"):
        cases_by_host = run_on_hosts(hosts, read_configuration)
    made: dict[str, Checklist | DeeprigError] = {
        name: case
        if isinstance(case, DeeprigError)
        else attempt(_make_remembered, case, inventory, name, given, wish.ask)
        for name, case in cases_by_host.items()
    }
    if status := _show(made, flags, wish):
        raise Exit(code=status)


def answers_of(given: Sequence[str]) -> dict[str, bool]:
    """`--answer riser-power=yes`. Raises SourceError."""
    item_by_id = {item.id: item for item in items.load()}
    answers = {}
    for text in given:
        name, _, value = text.partition("=")
        if name not in item_by_id:
            raise SourceError(
                f"the checklist has no item '{name}'", advice=f"It has: {', '.join(item_by_id)}."
            )
        if value.lower() not in ANSWERS:
            raise SourceError(f"'{text}' is not an answer", advice=f"--answer {name}=yes, or =no")
        answers[name] = ANSWERS[value.lower()]
    return answers


def _case(
    connection: RigConnection, host: Host, inventory: Inventory, flags: Flags, password: str | None
) -> RigConfiguration:
    extra = extra_variables(flags.e)
    with take_survey(connection, password) as seen:
        planned = plan.plan(seen, host, inventory, extra)
        facts = ansible_facts(seen)
        url = str(target.evaluate_expectations(host, inventory, facts, tuple(flags.e))["agent_url"])
        done = RootShell(connection, password).run(
            f"timeout 10 python3 -c {shlex.quote(ASK)} {shlex.quote(url)}"
        )
        return cases.from_facts(
            host.name,
            seen.facts,
            power.supplies_of(host),
            planned.power_limits,
            seen.tree.text_of("messages"),
            agent_paths(done.out.decode("utf-8", "replace")),
        )


def agent_paths(text: str) -> list[AgentPath] | None:
    """Return the PCIe paths of the agent's document; None where there is none."""
    try:
        document = check_type(parse_json(text), AgentDocument, "agent's document")
    except DeeprigError:
        return None
    return document["pcie"]["paths"]


def _make_remembered(
    case: RigConfiguration, inventory: Inventory, name: str, given: dict[str, bool], again: bool
) -> Checklist:
    path = answer_file.file_of(inventory, name)
    answers, seen = answer_file.load(path)
    answers |= given
    made = checklist.make_checklist(case, answers, seen)
    if sys.stdin.isatty() and sys.stdout.isatty():
        for item, answer in ask(made, dict(answers), again, input):
            answers[item] = answer
            answer_file.save(path, name, answers, seen)  # Ctrl-C at the next one loses none
        made = checklist.make_checklist(case, answers, seen)
    answer_file.save(path, name, answers, answer_file.merge_observations(made, seen))
    return made


def ask(
    made: Checklist, answers: Mapping[str, bool], again: bool, put: Ask
) -> Iterator[tuple[str, bool]]:
    """Ask for what can't be seen and has no answer yet; anything but yes or no leaves it open."""
    for entry in made.entries:
        if entry.ask and (again or entry.id not in answers):
            try:
                question = clean_line(f"{made.case.name}: {entry.ask} [y/n, Enter: later] ")
                answer = put(question).strip().lower()
            except EOFError:  # Ctrl-D: no more answers for now
                break
            if answer in ANSWERS:
                yield entry.id, ANSWERS[answer]


def _show(
    made: Mapping[str, Checklist | DeeprigError], flags: Flags, wish: ChecklistOptions
) -> int:
    """Show the checklists; the worst status of those that can't be shown."""
    documents: dict[str, ChecklistDocument] = {}
    console = Terminal()

    def show_one(name: str, rig_checklist: Checklist) -> None:
        documents[name] = rig_checklist.document()
        if not flags.json:
            show.print_checklist(rig_checklist, console, everything=flags.verbose)
        for flag, kind, path in (
            ("--html", ".html", wish.html),
            ("--markdown", ".md", wish.markdown),
        ):
            if path:
                files.write_named(flag, path, page.render(rig_checklist, kind))
                if not flags.json:
                    console.print(f"  {path}")

    status = show_answers(made, show_one)
    if flags.json:
        print(json.dumps(documents.get("", documents), indent=2))
    return status

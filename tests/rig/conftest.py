"""The suite's flags and fixtures. `--hosts` is testinfra's: here names of the inventory, or local://."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import testinfra

from tests.rig import load as loads
from tests.rig.load import Load
from tests.rig.proof import Proof
from tests.rig.recorder import PROOF, Recorder
from tests.rig.smi import Smi
from tests.rig.subject import STATE, Silent, Subject
from tests.rig.summary import summary

LOCAL = "local://"
HERE = os.uname().nodename  # what it calls itself then
LOST_STATUS = 4  # as fab has it
KEPT = 100  # reports on the rig; older ones go
SUBJECT = pytest.StashKey[Subject]()
RECORDER = pytest.StashKey[Recorder]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The suite's own flags."""
    group = parser.getgroup("deeprig")
    group.addoption("--quick", action="store_true", help="a minute or a few, less load")
    group.addoption("--report", metavar="FOLDER", help="write report.json there (and report.html)")
    group.addoption(
        "--events", metavar="FILE", help="write the events of the run, a JSON object a line"
    )
    group.addoption("--inventory", help="another inventory than inventory/")
    group.addoption("--extra-vars", action="append", default=[], help="a variable, as fab's -e")
    group.addoption("--connection-file", help="Fabric's settings as JSON: passwords, keys")
    group.addoption("--accept-new", action="store_true", help="remember unknown host keys")
    group.addoption("--no-store", action="store_true", help="leave no report on the rig")
    group.addoption(
        "--yield-to-jobs", action="store_true", help="put no load beside a job on the GPUs"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Set the host: one per run, so that a report is of one rig."""
    named = config.getoption("hosts") or ""
    if not named or config.getoption("collectonly"):
        return
    names = [LOCAL] if named == LOCAL else _select_names(config, named)
    if len(names) != 1:
        raise pytest.UsageError(
            f"a run of the suite is of one rig, and {named!r} names {len(names)}: "
            "fab validate -H runs it for many at once"
        )
    events = config.getoption("events")
    # Closed with the process: events are sent until its end.
    stream = Path(events).open("w", encoding="utf-8") if events else None  # noqa: SIM115
    name = HERE if named == LOCAL else names[0]
    plan = "quick" if config.getoption("quick") else "full"
    recorder = Recorder(name, plan, stream)
    config.stash[RECORDER] = recorder
    config.pluginmanager.register(recorder, "deeprig-recorder")


def _select_names(config: pytest.Config, pattern: str) -> list[str]:
    from provision.discovery import target
    from provision.errors import DeeprigError, describe

    try:
        extra = tuple(config.getoption("extra_vars"))
        hosts = target.select_hosts(pattern, config.getoption("inventory"), extra)
    except DeeprigError as error:
        raise pytest.UsageError(describe(error)) from None
    return [host.name for host, _ in hosts]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Sort checks without load first; without a host, select none."""
    here = [item for item in items if item.path.is_relative_to(Path(__file__).parent)]
    if here and RECORDER not in config.stash and not config.getoption("collectonly"):
        raise pytest.UsageError("name a rig: --hosts=NAME (or local:// on the rig itself)")
    items.sort(key=lambda item: ["load" in _list_fixtures(item), "ran" in _list_fixtures(item)])


def _list_fixtures(item: pytest.Item) -> list[str]:
    """Return the fixtures that a check needs: `load` runs benchmarks, `ran` their result."""
    return list(getattr(item, "fixturenames", ()))


def pytest_sessionstart(session: pytest.Session) -> None:
    """Connect to the rig; without a connection no check has a result."""
    recorder = session.config.stash.get(RECORDER, None)
    if recorder is None:
        return
    if session.config.getoption("hosts") == LOCAL:
        session.config.stash[SUBJECT] = subject = Subject(HERE, testinfra.get_host(LOCAL))
        if not subject.record:
            raise pytest.UsageError("this rig was never provisioned: fab provision")
        return
    from provision.errors import DeeprigError

    try:
        session.config.stash[SUBJECT] = _connect(session.config)
    except DeeprigError as error:
        recorder.write_event(event="unreachable", message=error.message, advice=error.advice)
        pytest.exit(f"{recorder.document['host']}: {error.message}. {error.advice}", error.status)


def _connect(config: pytest.Config) -> Subject:
    """Connect to a rig of the inventory. Raises DeeprigError."""
    from fabric import Config
    from testinfra.host import Host

    from provision.discovery import target

    connection = config.getoption("connection_file")
    overrides = json.loads(Path(connection).read_text()) if connection else {}
    extra = tuple(config.getoption("extra_vars"))
    named = target.select_hosts(config.getoption("hosts"), config.getoption("inventory"), extra)
    ((rig, inventory),) = named
    settings = Config(overrides=overrides)
    reached = target.connect_target(rig, inventory, settings, extra, config.getoption("accept_new"))
    return Subject(rig.name, Host(reached.backend), reached.facts, reached.expected)


@pytest.fixture(scope="session")
def subject(pytestconfig: pytest.Config) -> Subject:
    """The connected rig with its facts and its expected state."""
    return pytestconfig.stash[SUBJECT]


@pytest.fixture(scope="session")
def host(subject: Subject) -> Any:
    """testinfra's host: packages, services, files, sockets, processes."""
    return subject.host


@pytest.fixture
def agent(subject: Subject) -> Mapping[str, Any]:
    """Return the agent's current document; a separate check reports a missing answer."""
    return subject.agent()


@pytest.fixture
def smi(subject: Subject) -> Smi:
    """Return nvidia-smi's answer; a separate check reports a missing one."""
    if not subject.smi.gpus:
        raise Silent(subject.smi.problem)
    return subject.smi


@pytest.fixture
def prove(request: pytest.FixtureRequest) -> Proof:
    """Add a check's rows to the report; fail the check if one is critical."""
    proof = request.node.stash[PROOF] = Proof()
    return proof


@pytest.fixture(scope="session")
def load(subject: Subject, pytestconfig: pytest.Config) -> Load:
    """The benchmarks' run, shared by all checks that use it."""
    recorder = pytestconfig.stash[RECORDER]
    plan = recorder.document["plan"]
    done = loads.run(
        subject,
        plan,
        pytestconfig.getoption("yield_to_jobs"),
        lambda text: recorder.write_event(event="progress", text=text),
    )
    recorder.finish_load(done.document, done.yielded)
    return done


@pytest.fixture
def ran(load: Load) -> Load:
    """Return a load that has a result; a separate check reports why one has none."""
    if load.document is None:
        pytest.skip("the benchmarks gave no result")
    return load


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Store the report on the rig, and in the files that the flags name."""
    recorder = session.config.stash.get(RECORDER, None)
    subject = session.config.stash.get(SUBJECT, None)
    if recorder is None or subject is None:
        return
    document = recorder.finish()
    if not session.config.getoption("no_store"):
        document["stored"] = (
            "not stored: the rig was lost"
            if recorder.lost
            else _store(subject, document, whole=is_whole(session, document))
        )
    if folder := session.config.getoption("report"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / "report.json").write_text(json.dumps(document, indent=1) + "\n")
    recorder.write_event(event="report", document=document)
    if recorder.lost:
        session.exitstatus = LOST_STATUS


def is_whole(session: pytest.Session, document: dict[str, Any]) -> bool:
    """Return whether all checks ran to their end; only then the run is a validation."""
    files = {item.path for item in session.items}
    return (
        "incomplete" not in document
        and not any(session.config.getoption(name) for name in ("keyword", "markexpr"))
        and files == set(Path(__file__).parent.glob("test_*.py"))
    )


def _store(subject: Subject, document: dict[str, Any], whole: bool) -> str:
    """Write the report on the rig; the path, or why not.

    Partial and interrupted runs are not reported to the agent.
    """
    folder = f"{STATE}/validation"
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(document["started_at"]))
    path = f"{folder}/{stamp}-{document['plan']}.json"
    try:
        subject.host.run(f"mkdir -p {folder}")
        subject.store(path, json.dumps(document))
        if whole:
            subject.store(f"{folder}/summary.json", json.dumps(summary(document)))
        subject.host.run(f"ls -1t {folder}/2*.json | tail -n +{KEPT + 1} | xargs -r rm --")
    except Exception as error:  # the rig may be gone by now; the report is still sent
        return f"not stored: {error}"
    return path

"""Outcomes as data, secrets masked: for the log and for --json."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from provision.engine.results import ItemOutcome, Recap, TaskOutcome
from provision.output.redaction import Redactor


class ItemRecord(TypedDict):
    """One call of a module. result: what it returned, under the module's own names."""

    status: str
    item: str
    result: Any


class OutcomeRecord(TypedDict):
    """A completed task of one host. seconds: on the rig."""

    time: str
    host: str
    step: str
    task: str
    module: str
    position: str
    status: str
    seconds: float
    items: list[ItemRecord]


class NoteRecord(TypedDict):
    """Anything else that the log has."""

    time: str
    host: str
    note: str


class RunDocument(TypedDict):
    """What --json prints of a run. hosts: a recap's numbers, `frames` and `error`."""

    hosts: dict[str, dict[str, int | str]]
    tasks: list[OutcomeRecord]
    seconds: float
    log: str


def record_outcome(outcome: TaskOutcome, redactor: Redactor) -> OutcomeRecord:
    """Return an outcome as a line of the log has it."""
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "host": outcome.host,
        "step": outcome.step,
        "task": redactor.text(outcome.title),
        "module": outcome.task.module,
        "position": str(outcome.task.position),
        "status": outcome.status.value,
        "seconds": round(outcome.elapsed, 3),
        "items": [_record_item(outcome, item, redactor) for item in outcome.items],
    }


def _record_item(outcome: TaskOutcome, item: ItemOutcome, redactor: Redactor) -> ItemRecord:
    if outcome.task.scope.no_log:
        result: Any = {"censored": "no_log is set"}
        return {"status": item.status.value, "item": "", "result": result}
    result = item.result.as_record()
    if outcome.task.module == "setup":
        result = {"changed": False}  # facts are shown by `fab facts`, not in every log
    label = redactor.text(item.label)
    return {"status": item.status.value, "item": label, "result": redactor.value(result)}


def run_document(
    recaps: Sequence[Recap],
    errors: Mapping[str, str],
    outcomes: Sequence[OutcomeRecord],
    seconds: float,
    log: str,
) -> RunDocument:
    """Return the document of --json. errors: by host; outcomes: records, in their order."""
    hosts: dict[str, dict[str, int | str]] = {
        recap.host: {
            **recap.numbers(),
            "frames": recap.frames,
            "error": errors.get(recap.host, ""),
        }
        for recap in recaps
    }
    return {"hosts": hosts, "tasks": list(outcomes), "seconds": round(seconds, 3), "log": log}


def as_json(value: Any) -> str:
    """Return JSON; what JSON has no form for becomes its text."""
    return json.dumps(value, indent=2, default=str)

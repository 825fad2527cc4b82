"""Writes the report of a run: events during the run, and one JSON document at its end."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import pytest

from tests.rig.proof import Proof, Row, worst
from tests.rig.subject import Silent

FORMAT, FORMAT_VERSION = "deeprig-validation", 1
BEYOND = "the rig was lost before this check"
PROOF = pytest.StashKey[Proof]()


class Recorder:
    """A pytest plugin. Each check becomes a record of the document (docs/validation.md)."""

    def __init__(self, host: str, plan: str, events: IO[str] | None) -> None:
        self.document: dict[str, Any] = {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "host": host,
            "plan": plan,
            "started_at": time.time(),
            "checks": [],
        }
        self._events = events
        self._seconds: dict[str, float] = {}
        self._total = 0
        self.lost = ""  # why the remaining checks have no result

    def write_event(self, **event: Any) -> None:
        """Print an event as a JSON object on one line."""
        if self._events is not None:
            print(json.dumps(event), file=self._events, flush=True)

    def finish_load(self, document: Mapping[str, Any] | None, yielded: bool) -> None:
        """Return the benchmarks' document; a run that stopped for a job is incomplete."""
        self.document["bench"] = document
        if yielded:
            self.document["incomplete"] = "gave way to a job on the GPUs"

    def finish(self) -> dict[str, Any]:
        """Return the document; `incomplete` has the reason where it is not complete."""
        checks = self.document["checks"]
        statuses = [check["status"] for check in checks]
        if self.lost:
            done = sum(check["message"] != BEYOND for check in checks) - 1
            self.document["incomplete"] = f"the rig was lost after {done} of {self._total} checks"
        elif len(checks) < self._total:
            self.document["incomplete"] = f"broken off after {len(checks)} of {self._total} checks"
        self.document["finished_at"] = time.time()
        self.document["counts"] = {
            status: statuses.count(status) for status in ("ok", "warning", "critical", "unknown")
        }
        return self.document

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Report the number of checks."""
        self._total = len(session.items)
        self.write_event(event="collected", checks=self._total)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Report that a check begins."""
        self.write_event(event="begin", check=_name(nodeid))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Skip checks of a lost rig."""
        if self.lost:
            pytest.skip(BEYOND)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: Any) -> Any:
        """A check's part (setup, call, teardown) is done. What read nothing is skipped, for why."""
        if why := self._loss(call) or _nothing_read(item, call):
            call.excinfo = pytest.CallInfo.from_call(lambda: pytest.skip(why), call.when).excinfo
        report: pytest.TestReport = yield
        before = self._seconds.get(item.nodeid, 0.0)
        self._seconds[item.nodeid] = before + report.duration
        failed_around = report.when != "call" and report.failed
        skipped = report.when == "setup" and report.skipped
        if report.when == "call" or failed_around or skipped:
            self._record(item, report, call)
        return report

    def _loss(self, call: Any) -> str:
        """Return why the rig was lost in this check, or an empty text. Reported at once."""
        if call.excinfo is None or not _is_loss(call.excinfo.value):
            return ""
        if not self.lost:
            error = call.excinfo.value
            self.lost = _reason(call.excinfo)
            self.write_event(event="lost", message=error.message, advice=error.advice)
        return self.lost

    def _record(self, item: pytest.Item, report: pytest.TestReport, call: Any) -> None:
        rows = item.stash[PROOF].rows if PROOF in item.stash else []
        status, message = worst(rows), ""
        if report.skipped:
            status = worst([*rows, Row("", "", "", "unknown")])
            message = str(getattr(call.excinfo.value, "msg", call.excinfo.value))
        elif report.failed:
            broken = call.excinfo.typename != "AssertionError" or not rows
            status = "critical"
            message = _reason(call.excinfo) if broken else ""
        function = getattr(item, "function", None)
        text = (getattr(function, "__doc__", "") or item.name).strip()
        title, _, why = text.partition("\n")
        record = {
            "check": _name(item.nodeid),
            "title": title.rstrip("."),
            "why": " ".join(why.split()),
            "status": status,
            "seconds": round(self._seconds[item.nodeid], 3),
            "message": message,
            "rows": [row.document() for row in rows],
        }
        self.document["checks"].append(record)
        self.write_event(event="end", number=len(self.document["checks"]), of=self._total, **record)


def _is_loss(error: BaseException) -> bool:
    """Return whether the rig is lost (provision/errors.py, which a rig itself does not have)."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & {"LostError", "UnreachableError"}) and "HungError" not in names


def _nothing_read(item: pytest.Item, call: Any) -> str:
    """Return why a check that did not fail read nothing; empty if it read something."""
    if call.excinfo is not None:
        return str(call.excinfo.value) if isinstance(call.excinfo.value, Silent) else ""
    proved = PROOF in item.stash and bool(item.stash[PROOF].rows)
    return "" if proved or call.when != "call" else "nothing was read"


def _name(nodeid: str) -> str:
    """`software::driver` of `tests/rig/test_software.py::test_driver[rig]`."""
    file, _, test = nodeid.partition("::")
    return (
        f"{Path(file).stem.removeprefix('test_')}::{test.partition('[')[0].removeprefix('test_')}"
    )


def _reason(info: pytest.ExceptionInfo[BaseException]) -> str:
    """Return the error in a check itself, in a line or two."""
    error = info.value
    advice = getattr(error, "advice", "")
    text = str(getattr(error, "message", "") or error or info.typename)
    return f"{text}. {advice}" if advice else text

"""The resident agent: it runs, it answers, and it sees what we see."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.rig.proof import Proof, Row, Status, row
from tests.rig.subject import Silent, Subject

AS_STATUS: dict[str, Status] = {
    "ok": "ok",
    "warning": "warning",
    "critical": "critical",
    "unknown": "unknown",
}
#: Verdicts on results: what is measured here replaces them.
OF_RESULTS = ("nccl-bandwidth", "nccl-values", "nccl-results", "validation")


def test_service(subject: Subject, host: Any, prove: Proof) -> None:
    """Agent's service.
    It must watch now, and after every boot.
    """
    service = host.service("deeprig-agent")
    advice = f"fab provision -H {subject.name} --tags agent"
    answers = "yes"
    try:
        subject.agent()
    except Silent as error:
        answers = str(error)
    prove(
        [
            row("answers", answers, "yes", answers == "yes", advice),
            row(
                "deeprig-agent",
                "running" if service.is_running else "not running",
                "running",
                service.is_running,
                advice,
            ),
            row(
                "deeprig-agent",
                "enabled" if service.is_enabled else "not enabled",
                "enabled at boot",
                service.is_enabled,
                advice,
            ),
        ]
    )


def test_sees_the_same(subject: Subject, agent: Mapping[str, Any], prove: Proof) -> None:
    """Agent and bus agree.
    Its metrics must match the rig.
    """
    paths = {path["address"]: path for path in agent["pcie"]["paths"]}
    rows = [
        row(
            gpu["address"],
            f"agent: x{paths.get(gpu['address'], {}).get('width')}",
            f"x{gpu['path_width']}, as the bus shows",
            paths.get(gpu["address"], {}).get("width") == gpu["path_width"],
            "systemctl restart deeprig-agent",
        )
        for gpu in subject.gpus
    ]
    extra = sorted(set(paths) - {gpu["address"] for gpu in subject.gpus})
    rows += [
        row(address, "agent: there", "not on the bus", False, "systemctl restart deeprig-agent")
        for address in extra
    ]
    prove(rows)


def test_verdicts(agent: Mapping[str, Any], prove: Proof) -> None:
    """Agent's verdicts.
    Each is a reading that is not as it should be, with what to do.
    """
    rows = [
        Row(
            f"{verdict['title']}: {verdict['subject']}",
            verdict["reading"],
            verdict["expectation"],
            AS_STATUS[verdict["status"]],
            verdict["advice"],
        )
        for verdict in agent["verdicts"]
        if verdict["status"] in ("warning", "critical") and verdict["check"] not in OF_RESULTS
    ]
    prove(rows or [Row("rig", "all ok", "all ok")])

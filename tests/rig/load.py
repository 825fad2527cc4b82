"""The load: benchmarks on the GPUs, and counters of the rig before and after them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.rig.subject import STATE, Silent, Subject

PROGRAM = "/opt/deeprig/bin/deeprig-bench"
#: Seconds of the whole run, by plan, and more for each GPU: every rank loads PyTorch on the same
#: few cores, and copies and pairs take turns, at 0.2 GB/s where a mining BIOS fixed x1 at Gen1. And
#: seconds without progress after which ranks hang; a slow disk alone can take half of them.
DEADLINES = {"quick": 120, "full": 480}
MORE_FOR_A_GPU = {"quick": 80, "full": 240}
PATIENCE = {"quick": 60, "full": 60}


@dataclass(frozen=True)
class Counters:
    """What only grows: PCIe errors by device, packets sent again and Xids by GPU.

    silent: why the agent, which counts the last two, did not report them.
    """

    aer: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    replays: Mapping[str, int] = field(default_factory=dict)
    xids: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    silent: str = ""


@dataclass(frozen=True)
class Load:
    """A run of the benchmarks. document: docs/bench.md; problem: why there is none.

    started_at: Unix seconds by the rig's own clock. yielded: a job on the GPUs came first.
    """

    before: Counters
    after: Counters
    started_at: float
    document: Mapping[str, Any] | None = None
    problem: str = ""
    status: int = 0

    @property
    def yielded(self) -> bool:
        """Whether the run stopped for a job."""
        return self.status == 5

    @property
    def on_gpus(self) -> bool:
        """Whether the benchmarks ran on GPUs, not on the CPU."""
        return self.document is not None and self.document["backend"] == "nccl"

    @property
    def counted(self) -> tuple[Counters, Counters]:
        """Counters before and after. Raises Silent if the agent did not answer."""
        if why := self.before.silent or self.after.silent:
            raise Silent(why)
        return self.before, self.after

    def part(self, name: str) -> Mapping[str, Any]:
        """Return the record of a part in the document, empty if it was not run."""
        parts = self.document["parts"] if self.document else []
        return next((part for part in parts if part["part"] == name), {})


def counters(subject: Subject) -> Counters:
    """Read all counters; those that cannot be read are left out."""
    silent = ""
    try:
        agent = subject.agent()
    except Silent as error:
        agent, silent = {"gpus": [], "xids": []}, str(error)
    readings = {gpu["address"]: gpu["reading"] or {} for gpu in agent["gpus"]}
    xids: dict[str, dict[int, int]] = {}
    for xid_count in agent["xids"]:
        xids.setdefault(xid_count["address"], {})[xid_count["xid"]] = xid_count["count"]
    return Counters(
        aer=subject.pcie_errors(),
        replays={
            address: reading["pcie_replays"]
            for address, reading in readings.items()
            if reading.get("pcie_replays") is not None
        },
        xids=xids,
        silent=silent,
    )


def deadline(plan: str, gpus: int) -> int:
    """Return the seconds after which an unfinished run counts as a hang."""
    return DEADLINES[plan] + gpus * MORE_FOR_A_GPU[plan]


def run(subject: Subject, plan: str, yield_to_jobs: bool, progress: Callable[[str], None]) -> Load:
    """Run the benchmarks of a plan (quick, full) on the rig, to their end or their deadline."""
    if subject.host.run(f"test -x {PROGRAM}").rc != 0:
        nothing = Counters()
        return Load(
            nothing,
            nothing,
            0.0,
            status=4,
            problem="no benchmarks on this rig: fab provision --tags agent,validation",
        )
    if subject.smi.hangs and subject.expected["torch_build"] == "cuda":
        nothing = Counters()
        reason = f"no load while a GPU hangs ({subject.smi.problem}): they would hang with it"
        return Load(nothing, nothing, 0.0, status=4, problem=reason)
    before = counters(subject)
    seconds = deadline(plan, len(subject.gpus))
    started_at = float(subject.output("date +%s.%N") or time.time())
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(started_at))
    messages: dict[str, Any] = {}

    def line(text: str) -> None:
        try:
            event = json.loads(text)
        except ValueError:
            return
        if not isinstance(event, dict):
            return
        if event.get("event") == "begin":
            progress(f"{event['part']} ({event['number']} of {event['of']})")
        elif event.get("event") == "document":
            messages["document"] = event["document"]

    done = subject.follow(
        f"{PROGRAM} --plan {plan} --events --deadline {seconds} --patience {PATIENCE[plan]}"
        f" --results {STATE}/nccl --output {STATE}/bench/{stamp}.json"
        # Where PyTorch should see the GPUs, the CPU does not replace them.
        f"{' --backend nccl' if subject.expected['torch_build'] == 'cuda' else ''}"
        f"{' --yield-to-jobs' if yield_to_jobs else ''}",
        line,
    )
    document = messages.get("document")
    errors = done.stderr.strip().splitlines()
    reason = errors[-1] if errors else f"the benchmarks ended with status {done.rc} and no result"
    return Load(
        before,
        counters(subject),
        started_at,
        document,
        problem="" if document else reason,
        status=done.rc,
    )

"""What starts, or is, a miner: the units, lines, logins, processes and containers of a rig.

Each is {kind, name, evidence}. kind: `watchdog` (a unit that resets the rig when the miner stops)
and `unit`; `drop-in` (of a unit that is not a miner's otherwise); `essential` (a unit that was
tampered with, and without which the rig is lost); `cron`, `rc.local`, `settings` (of inittab,
supervisor, udev) and `login` (a line that holds the name, of the file that is the evidence);
`autologin` (a getty's drop-in); `process`, `screen`, `tmux` and `gpu` (`pid N`; of a gpu's program
nothing else is known); `docker` and `podman` (a container).

Certainty takes signs of two kinds (mining_signs.py). What has fewer is a suspect, which is never
stopped without being asked for. This finds names and paths only: settings and arguments of miners
hold wallets and passwords.
"""

from __future__ import annotations

import re
from typing import Iterable, Iterator, TypedDict

from provision.remote import dpkg
from provision.remote.facts.containers import find_containers, find_quadlets
from provision.remote.facts.guards import find_guards
from provision.remote.facts.mining_evidence import (
    EvidenceRow,
    MinerFinding,
    SuspectRow,
    merge_findings,
    split_findings,
)
from provision.remote.facts.mining_signs import load_marks
from provision.remote.facts.restart_delays import longest_restart_delay
from provision.remote.facts.running_miners import find_gpu_work, find_running, look_at_processes
from provision.remote.facts.starters import find_starters
from provision.remote.facts.tree import Tree


class MiningFacts(TypedDict):
    """miners: what mines or starts a miner for sure. suspects: what may.

    gpu_work: other programs that compute on a GPU. restart_seconds: the longest time after which
    one of the miners would be started again.
    """

    miners: list[EvidenceRow]
    suspects: list[SuspectRow]
    gpu_work: list[EvidenceRow]
    restart_seconds: int


def find_miners(tree: Tree, packages: dpkg.Database, folders: Iterable[str] = ()) -> MiningFacts:
    """Return miners and what starts them, each once. folders: of the rig's mining system."""
    marks = load_marks(tuple(folders))
    programs = look_at_processes(tree, marks)
    findings = [
        *find_starters(tree, marks, programs.by_file()),
        *find_running(tree, marks, programs),
        *find_containers(tree, marks, programs),
        *find_quadlets(tree, marks),
    ]
    # On a rig that mines these are the miner's; elsewhere they are the owner's choice.
    if marks.folders or split_findings(findings)[0]:
        findings += [*_autologins(tree), *find_guards(tree, marks, packages, programs)]
    if marks.folders:
        findings = [_confirm_name(finding) for finding in findings]
    sure, suspects = split_findings(merge_findings(findings))
    return {
        "miners": sure,
        "suspects": suspects,
        "gpu_work": find_gpu_work(programs),
        "restart_seconds": longest_restart_delay(tree, sure),
    }


def _confirm_name(finding: MinerFinding) -> MinerFinding:
    """Return a finding of a rig with a mining system, on which nothing else is called `miner`."""
    signs = finding.signs | {"place"} if "word" in finding.signs else finding.signs
    return MinerFinding(*finding.key, signs)


def _autologins(tree: Tree) -> Iterator[MinerFinding]:
    for path in tree.glob("/etc/systemd/system/*getty@*.service.d/*.conf"):
        match = re.search(r"--autologin[ =](\S+)", tree.text(path))
        if match:
            yield MinerFinding("autologin", match.group(1), path, frozenset({"autologin"}))

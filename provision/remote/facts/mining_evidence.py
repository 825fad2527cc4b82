"""What is found of miners: a row for each, and the signs that it was found by."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import AbstractSet, Iterable, TypedDict

from provision.remote.facts.mining_signs import judge_signs
from provision.remote.facts.tables import table


class EvidenceRow(TypedDict):
    """A program, file or key that starts a miner or grants access. evidence: where it is."""

    kind: str
    name: str
    evidence: str


class SuspectRow(EvidenceRow):
    """What may be a miner, or start one. signs: why, in words.

    doubt: what speaks against it. `gpu`: it may be a user's computation; `reset`: the owner may
    have wanted it; `name`: other software is called so.
    """

    signs: list[str]
    doubt: str


#: The signs in words.
WORDS = {
    "place": "in the mining system's folder",
    "pool": "the address of a pool",
    "arguments": "options of a miner",
    "name": "a miner's name",
    "word": "a name that miners have, too",
    "wallet": "something like a wallet",
    "algorithm": "an algorithm of miners",
    "server": "a server with its port",
    "host": "a pool's domain",
    "program": "a pool's protocol in its program",
    "gpu": "computes on a GPU",
    "port": "connected to a port of pools",
    "cpu": "keeps a CPU core busy",
    "start": "starts by itself",
    "reset": "can reset the rig",
    "watch": "looks whether the rig works",
    "autologin": "logs a user in without a password",
}
#: The order in which they are stopped; what runs comes last, as it was found: from outside in.
ORDER = {
    "watchdog": 0,
    "essential": 1,
    "unit": 2,
    "drop-in": 3,
    "cron": 4,
    "rc.local": 5,
    "settings": 6,
    "login": 7,
    "autologin": 8,
}
#: What is the miner's because the rig mines: it counts without signs of mining.
OF_RIGS_THAT_MINE = frozenset({"watch", "autologin"})


@dataclass(frozen=True)
class MinerFinding:
    """What may be a miner or start one, before it is judged. signs: as in mining_signs.py."""

    kind: str
    name: str
    evidence: str
    signs: frozenset[str]

    @property
    def key(self) -> tuple[str, str, str]:
        """By what it is distinguished from others."""
        return self.kind, self.name, self.evidence


def unit_finding(name: str, path: str, signs: AbstractSet[str], kind: str = "unit") -> MinerFinding:
    """Return the row of a unit. `essential`: the rig is unreachable without it; never stop it."""
    essential = re.compile("|".join(table("miners.json")["essential_units"]), re.IGNORECASE)
    stem = name[: -len(".service")]
    kind = "essential" if essential.fullmatch(stem) else kind
    return MinerFinding(kind, name, path, frozenset(signs))


def entry(kind: str, name: str, evidence: str) -> EvidenceRow:
    """Return one row of evidence."""
    return {"kind": kind, "name": name, "evidence": evidence}


def merge_findings(findings: Iterable[MinerFinding]) -> list[MinerFinding]:
    """Return each finding once, with all of its signs, in the order of stopping."""
    merged: dict[tuple[str, str, str], MinerFinding] = {}
    for finding in findings:
        earlier = merged.get(finding.key)
        signs = finding.signs | (earlier.signs if earlier else frozenset())
        merged[finding.key] = MinerFinding(*finding.key, signs)
    # The watchdog's own process has a control group, too.
    findings = [
        finding
        for finding in merged.values()
        if finding.kind != "unit" or ("watchdog", *finding.key[1:]) not in merged
    ]
    return sorted(findings, key=_rank)


def _rank(finding: MinerFinding) -> tuple[int, bool]:
    """Sort by kind; of what runs, guards come before what they guard."""
    return ORDER.get(finding.kind, len(ORDER)), "reset" not in finding.signs


def split_findings(findings: Iterable[MinerFinding]) -> tuple[list[EvidenceRow], list[SuspectRow]]:
    """Return what mines for sure, and what may mine."""
    sure: list[EvidenceRow] = []
    suspects: list[SuspectRow] = []
    for finding in findings:
        confidence = judge_signs(finding.signs)
        row = entry(finding.kind, finding.name, finding.evidence)
        if confidence == "sure" or finding.signs & OF_RIGS_THAT_MINE:
            sure.append(row)
        elif confidence or "reset" in finding.signs:
            words = [WORDS[sign] for sign in sorted(finding.signs, key=list(WORDS).index)]
            suspects.append({**row, "signs": words, "doubt": _doubt(finding.signs)})
    return sure, suspects


def _doubt(signs: frozenset[str]) -> str:
    if "reset" in signs:
        return "reset"
    return "gpu" if signs <= {"gpu", "cpu", "port", "start"} else "name"

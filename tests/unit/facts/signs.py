"""Files of processes in /proc, and the evidence of miners in a tree of files, as texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from provision.remote import dpkg
from provision.remote.facts.miners import MiningFacts, find_miners
from provision.remote.facts.mining_evidence import EvidenceRow
from provision.remote.facts.tree import Tree


def format_signs(signs: list[EvidenceRow]) -> list[str]:
    assert all(list(sign) == ["kind", "name", "evidence"] for sign in signs)
    return [f"{sign['kind']} {sign['name']} {sign['evidence']}" for sign in signs]


def read_mining_facts(root: Path, *folders: str) -> MiningFacts:
    file = root / "var/lib/dpkg/status"
    packages = dpkg.Database(file.read_text() if file.exists() else "")
    return find_miners(Tree(str(root)), packages, folders)


def find_started(root: Path, *folders: str) -> list[str]:
    return format_signs(read_mining_facts(root, *folders)["miners"])


def find_suspects(root: Path, *folders: str) -> list[str]:
    suspects = read_mining_facts(root, *folders)["suspects"]
    return [f"{row['kind']} {row['name']} {row['evidence']}" for row in suspects]


def process(pid: int, parent: int, *argv: str, **more: Any) -> dict[str, Any]:
    """The files of a process in /proc; more: exe, cwd, state, unit, stat and what it has open."""
    folder = f"proc/{pid}"
    exe = more.get("exe", str(Path(more.get("cwd", "/bin")) / argv[0]))
    files: dict[str, Any] = {
        f"{folder}/comm": f"{more.get('comm', Path(argv[0]).name)}\n",
        f"{folder}/cmdline": "\0".join(argv) + "\0",
        f"{folder}/status": f"Name:\tx\nState:\t{more.get('state', 'S')}\nPPid:\t{parent}\n",
        f"{folder}/cgroup": f"0::/system.slice/{more.get('unit', 'x.scope')}\n",
        f"{folder}/exe": {"link": exe},
        f"{folder}/cwd": {"link": more.get("cwd", "/")},
    }
    for number, device in enumerate(more.get("open", ())):
        files[f"{folder}/fd/{number}"] = {"link": device}
    return files


GPU = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/nvidia-uvm")

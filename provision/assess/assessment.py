"""An assessment of one rig."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Literal, TypedDict

from agent.readings import pcie
from provision.assess import nvidia_smi, pcie_tree, security, verdict, wear
from provision.assess.finding import Finding, sort_worst_first
from provision.assess.nvidia_smi import Smi
from provision.assess.verdict import RigVerdict
from provision.boundary.facts import RigFacts
from provision.discovery import known_passwords, plan
from provision.discovery.known_passwords import KnownPassword
from provision.discovery.survey import Survey, describe_rig
from provision.errors import DeeprigError
from provision.hardware import cards, cpus, power
from provision.hardware.cards import Card
from provision.hardware.power import Budget, BudgetDocument
from provision.inventory.hosts import Host, Inventory
from provision.performance import machine
from provision.templating.host_variables import render_variable

FORMAT: Final = "deeprig-assessment"
FORMAT_VERSION: Final = 1

#: An assessment, as JSON has it (docs/assess.md). Unix seconds; verdict: RigVerdict's fields.
AssessmentDocument = TypedDict(
    "AssessmentDocument",
    {
        "format": Literal["deeprig-assessment"],
        "version": Literal[1],
        "host": str,
        "taken_at": float,
        "seconds": float,
        "as_root": bool,
        "is": dict[str, str],
        "tree": list[str],
        "wear": list[dict[str, str]],
        "security": list[dict[str, str]],
        "repairs": list[dict[str, str]],
        "power": list[BudgetDocument],
        "verdict": dict[str, object],
        "facts": RigFacts,
    },
)


@dataclass(frozen=True)
class Assessment:
    """rows: what the rig is, label and value. taken_at: Unix seconds; seconds: how long it took."""

    name: str
    rows: tuple[tuple[str, str], ...]
    tree: tuple[str, ...]
    wear: tuple[Finding, ...]
    security: tuple[Finding, ...]
    repairs: tuple[Finding, ...]
    budgets: tuple[Budget, ...]
    verdict: RigVerdict
    as_root: bool
    facts: RigFacts
    taken_at: float = 0.0
    seconds: float = 0.0

    def document(self) -> AssessmentDocument:
        """As JSON has it."""
        return {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "host": self.name,
            "taken_at": self.taken_at,
            "seconds": self.seconds,
            "as_root": self.as_root,
            "is": dict(self.rows),
            "tree": list(self.tree),
            "wear": [finding.document() for finding in self.wear],
            "security": [finding.document() for finding in self.security],
            "repairs": [finding.document() for finding in self.repairs],
            "power": [budget.document() for budget in self.budgets],
            "verdict": self.verdict.document(),
            "facts": self.facts,
        }


def assess_rig(
    look: Survey,
    host: Host,
    inventory: Inventory,
    extra: Mapping[str, Any],
    loaded: Sequence[Smi] = (),
    shared: Sequence[KnownPassword] | None = None,
) -> Assessment:
    """Assess a rig from a first look. loaded: its GPUs under a load, where they had one.

    shared: passwords that others know, None where only root could tell.

    Raises RenderError, SourceError.
    """
    facts = look.facts
    gpus = pcie.read_gpus(look.tree.path("/sys"), aer=True)
    smis = list(loaded) or nvidia_smi.parse(look.tree.text_of("nvidia_smi"))
    worn = wear.find_wear_signs(
        gpus, smis, look.tree.text_of("messages"), wear.generations_of(gpus)
    )
    security_findings = [
        *(
            _find_shared_login(host, facts)
            if shared is None
            else map(_shared_password_finding, shared)
        ),
        *security.find_security_signs(
            look.tree,
            facts["access"],
            look.tree.text_of("sockets"),
            look.tree.text_of("connections"),
            own_keys(),
            facts["taken_over"],
        ),
    ]
    card_table = cards.cards()
    names = {device: card.name for device, card in card_table.items()}
    planned = plan.plan(look, host, inventory, extra)
    ratings = power.supplies_of(host)
    return Assessment(
        name=host.name,
        rows=tuple(_rows(look, ratings)),
        tree=tuple(pcie_tree.draw(facts["gpus"], names)),
        wear=tuple(sort_worst_first(worn)),
        security=tuple(sort_worst_first(security_findings)),
        repairs=tuple(
            Finding(
                "packages and kernels",
                repair.name,
                "warning" if repair.is_serious else "note",
                repair.what,
            )
            for repair in planned.repairs
        ),
        budgets=tuple(_budgets(gpus, smis, card_table, planned.power_limits, ratings)),
        verdict=verdict.judge_rig(
            planned.refusals,
            [*security_findings, *worn],
            _read_machine(host, look),
            _is_converted(facts),
        ),
        as_root=look.as_root,
        facts=facts,
    )


def own_keys(folder: Path = Path("~/.ssh")) -> set[str]:
    """Return the operator's public keys, base64."""
    keys = set()
    for path in folder.expanduser().glob("*.pub"):
        words = path.read_text(encoding="utf-8", errors="replace").split()
        if len(words) > 1:
            keys.add(words[1])
    return keys


def _rows(look: Survey, ratings: list[float]) -> list[tuple[str, str]]:
    facts = look.facts
    rows = [row for row in describe_rig(look) if row[0] not in ("CUDA", "NCCL", "PyTorch")]
    board = facts["board"]
    processor = cpus.cpu(facts["cpu"]["model"])
    lanes = (
        f"{processor.lanes} of Gen{processor.generation} from the processor, chipset Gen"
        f"{processor.chipset_generation}"
        if processor
        else "not known for this processor"
    )
    up = look.tree.line("/proc/uptime").split(" ")[0]
    more_rows = {
        "BIOS": f"{board['bios_version']} of {board['bios_date']} ({board['bios_vendor']})",
        "lanes": lanes,
        "PSUs": " + ".join(f"{rating:g} W" for rating in ratings)
        or "unknown: set psus in the inventory",
        "uptime": str(timedelta(seconds=int(float(up or 0)))),
    }
    return [*rows, *more_rows.items()]


def _find_shared_login(host: Host, facts: RigFacts) -> list[Finding]:
    """Return the login that the inventory has, if others know it, too."""
    user = str(render_variable(host, "ansible_user", "ansible_ssh_user") or "")
    password = render_variable(host, "ansible_password", "ansible_ssh_pass")
    mining = facts["mining_os"]
    if password is None:
        return []
    why = known_passwords.explain_weakness(user, str(password), mining["key"] if mining else None)
    if not why:
        return []
    return [_shared_password_finding(KnownPassword(user, str(password), why))]


def _shared_password_finding(password: KnownPassword) -> Finding:
    reading = f"others know its password ({password.why})"
    return Finding("login", password.user, "critical", reading, "fab adopt changes it.")


def _is_converted(facts: RigFacts) -> bool:
    mines = facts["mining_os"] or facts["miners"]
    return not mines and bool(facts["driver"]["loaded_version"] and facts["software"]["torch"])


def _read_machine(host: Host, look: Survey) -> machine.Machine | None:
    try:
        return machine.from_facts(host.name, look.facts)
    except DeeprigError:  # no GPU, or a GPU that no table has
        return None


def _budgets(
    gpus: list[pcie.PcieGpu],
    smis: list[Smi],
    table: Mapping[str, Card],
    provisioned: Mapping[str, float],
    ratings: list[float],
) -> list[Budget]:
    """At the limits of now, of the cards, and of provisioning; those that are not known are not."""
    kinds: dict[str, Mapping[str, float | None]] = {
        "as it is now": {smi.address: smi.power_limit for smi in smis},
        "at the cards' own limits": {
            gpu.address: table[gpu.device_id].board_power for gpu in gpus if gpu.device_id in table
        },
        "as provisioned": dict(provisioned),
    }
    budgets = []
    for name, limits in kinds.items():
        gpu_watts = [
            (gpu.address, watts) for gpu in gpus if (watts := limits.get(gpu.address)) is not None
        ]
        if gpus and len(gpu_watts) == len(gpus):
            budgets.append(power.budget(name, gpu_watts, ratings))
    return budgets

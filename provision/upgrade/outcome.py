"""How an upgrade ended, and the document about it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from provision.errors import ExitStatus
from provision.upgrade.plan import UpgradePlan

FORMAT, FORMAT_VERSION = "deeprig-upgrade", 1


class UpgradeEnding(Enum):
    """The ways in which an upgrade ends. The value is what the report has."""

    UPGRADED = "upgraded"
    UNCHANGED = "nothing to upgrade"
    PLANNED = "planned"
    REFUSED = "refused"
    WENT_BACK = "went back"
    STUCK = "not whole"
    LOST = "lost"

    @property
    def exit_status(self) -> ExitStatus:
        """The exit status for it."""
        return {
            UpgradeEnding.REFUSED: ExitStatus.ERROR,
            UpgradeEnding.WENT_BACK: ExitStatus.FINDINGS,
            UpgradeEnding.STUCK: ExitStatus.ERROR,
            UpgradeEnding.LOST: ExitStatus.UNREACHABLE,
        }.get(self, ExitStatus.OK)


@dataclass(frozen=True)
class UpgradeOutcome:
    """One rig's.

    reasons: why it ended so, one a line. worse: what validation found worse than before.
    still_worse: what is worse than before although the rig went back. reports: folders by name
    (before, after, back).
    """

    host: str
    ending: UpgradeEnding
    plan: UpgradePlan | None = None
    reasons: tuple[str, ...] = ()
    worse: tuple[str, ...] = ()
    still_worse: tuple[str, ...] = ()
    reports: dict[str, Path] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """Return it as the report has it (docs/upgrade.md)."""
        return {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "host": self.host,
            "ending": self.ending.value,
            "changes": [asdict(change) for change in self.plan.changes] if self.plan else [],
            "reasons": list(self.reasons),
            "worse": list(self.worse),
            "still_worse": list(self.still_worse),
            "reports": {name: f"{name}/{self.host}/report.json" for name in self.reports},
        }

"""The upgrade of one rig: plan, baseline, change, proof, and the way back."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from provision.cli.flags import Flags
from provision.cli.fleet import FleetContext
from provision.cli.plays import play_on_hosts
from provision.discovery.gather import read_facts
from provision.engine.playbook_variables import evaluate_variables
from provision.engine.run_options import extra_variables
from provision.errors import DeeprigError, ExitStatus, InternalError
from provision.inventory.hosts import Host, Inventory
from provision.output.redaction import Redactor, secrets_of
from provision.paths import PLAYBOOKS
from provision.ssh.connection import RigConnection
from provision.ssh.rig_sessions import sessions_of, sudo_password
from provision.ssh.shell import RootShell
from provision.templating.host_variables import render_variable
from provision.upgrade.guard import Guard, GuardStatus
from provision.upgrade.outcome import UpgradeEnding, UpgradeOutcome
from provision.upgrade.plan import PLAYBOOK, UpgradePlan, make_plan
from provision.validate import baseline
from provision.validate.baseline import MetricChange
from provision.validate.command import run_suites, write_report
from provision.validate.documents import ValidationReport
from provision.validate.suite import SuiteOptions

STEPS = PLAYBOOKS / "upgrade.yml"
UPDATE = "apt-get -qq -o DPkg::Lock::Timeout=600 update >/dev/null 2>&1; "
LISTS_TIMEOUT = 900.0  # seconds for fresh package lists, and whoever holds their lock
BOOT_MINUTES = 15.0  # of a board with many cards, with a check of its file systems
Announce = Callable[[str], None]


@dataclass
class RigUpgrade:
    """What the upgrade of one rig needs; `run` ends in one outcome, whatever happens."""

    context: FleetContext
    flags: Flags
    host: Host
    inventory: Inventory
    settings: Mapping[str, str]
    folder: Path
    quick: bool
    announce: Announce

    def run(self) -> UpgradeOutcome:
        """Upgrade, prove, and go back where that fails."""
        try:
            return self._run()
        except DeeprigError as error:
            ending = (
                UpgradeEnding.LOST
                if error.status == ExitStatus.UNREACHABLE
                else UpgradeEnding.REFUSED
            )
            return UpgradeOutcome(
                self.host.name, ending, reasons=(error.message, *filter(None, [error.advice]))
            )

    def _run(self) -> UpgradeOutcome:
        name, guard = self.host.name, self._guard
        earlier = guard.status()
        if earlier.is_undecided:
            self.announce("an earlier upgrade of this rig has not ended: it is taken back")
            return self._take_back("an earlier upgrade had not ended", None, None, {})
        self.announce("what is installed, and what the repositories have")
        plan = self._plan()
        if plan.refusals:
            return UpgradeOutcome(name, UpgradeEnding.REFUSED, plan, plan.refusals)
        if not plan.changes:
            return UpgradeOutcome(name, UpgradeEnding.UNCHANGED, plan)
        for change in plan.changes:
            self.announce(f"{change.what}: {change.before or 'none'} -> {change.after}")
        if self.flags.check:
            return UpgradeOutcome(name, UpgradeEnding.PLANNED, plan)
        self.announce("the baseline")
        reports = {"before": self.folder / "before"}
        before, _ = self._validate("before", {})
        played = self._flags(plan.settings)
        (recap,) = play_on_hosts(self.context, played, STEPS, "upgrade", only={name})
        if recap.exit_status == ExitStatus.UNREACHABLE:
            return self._wait_for_guard(plan, before, reports)
        if recap.exit_status != ExitStatus.OK:
            if not guard.status().has_acted_since(earlier):  # it failed before the guard was armed
                return UpgradeOutcome(
                    name, UpgradeEnding.REFUSED, plan, (recap.error,), reports=reports
                )
            return self._take_back(recap.error, plan, before, reports)
        reports["after"] = self.folder / "after"
        try:
            worse = self._find_worse("after", before, plan.settings)
        except DeeprigError as error:
            if error.status == ExitStatus.UNREACHABLE:
                return self._wait_for_guard(plan, before, reports)
            return self._take_back(error.message, plan, before, reports)
        if worse:
            reason = "validation found what is worse than before"
            return replace(self._take_back(reason, plan, before, reports), worse=tuple(worse))
        guard.confirm()
        return UpgradeOutcome(name, UpgradeEnding.UPGRADED, plan, reports=reports)

    def _wait_for_guard(
        self, plan: UpgradePlan, before: ValidationReport, reports: dict[str, Path]
    ) -> UpgradeOutcome:
        """The rig was lost: it comes back by itself, with what it had or with the upgrade."""
        minutes = float(render_variable(self.host, "upgrade_minutes") or 0) + BOOT_MINUTES
        self.announce(f"the rig does not answer: waiting up to {minutes:.0f} min for its guard")
        status = self._guard.wait(lambda status: True, minutes * 60)
        return self._take_back(
            status.reason or "the connection was lost, or the rig did not come back in time",
            plan,
            before,
            reports,
        )

    def _take_back(
        self,
        reason: str,
        plan: UpgradePlan | None,
        before: ValidationReport | None,
        reports: dict[str, Path],
    ) -> UpgradeOutcome:
        self.announce(f"going back: {reason.splitlines()[0]}")
        status: GuardStatus = self._guard.go_back(reason.splitlines()[0])
        reasons = status.list_reasons(reason)
        still_worse: tuple[str, ...] = ()
        if before is not None:
            reports["back"] = self.folder / "back"
            still_worse = tuple(self._find_worse("back", before, {}))
        ending = UpgradeEnding.WENT_BACK if status.state == "back" else UpgradeEnding.STUCK
        return UpgradeOutcome(
            self.host.name, ending, plan, reasons, still_worse=still_worse, reports=reports
        )

    # Proof.

    def _find_worse(
        self, name: str, before: ValidationReport, settings: Mapping[str, str]
    ) -> list[str]:
        """Return what is worse than before, each time: what is worse once only may be chance."""
        lines = self._list_worse(name, before, settings)
        if not lines:
            return []
        self.announce("once more, since something is worse than before")
        again = self._list_worse(name, before, settings)
        return [line for key, line in again.items() if key in lines]

    def _list_worse(
        self, name: str, before: ValidationReport, settings: Mapping[str, str]
    ) -> dict[tuple[str, str], str]:
        _, changes = self._validate(name, settings, before)
        return {
            (change.check, change.subject): change.line
            for change in changes
            if change.direction in ("worse", "gone")
        }

    def _validate(
        self,
        name: str,
        settings: Mapping[str, str],
        before: ValidationReport | None = None,
    ) -> tuple[ValidationReport, list[MetricChange]]:
        """Return the report, and what has changed since `before`; write both."""
        flags = self._flags(settings)
        options = SuiteOptions(self.quick, flags.inventory, tuple(flags.e))
        redactor = Redactor(secrets_of(self.host.variables))
        (result,) = run_suites(
            [self.host], options, self.context.config, flags, self.folder / name, redactor
        )
        if result.error is not None:
            raise result.error
        if result.document is None:
            raise InternalError(RuntimeError("a validation without a report"))
        changes = baseline.compare([before], result.document) if before else []
        write_report(result, changes if before else None)
        return result.document, changes

    # The rig.

    def _plan(self) -> UpgradePlan:
        config, extra = self.context.config, extra_variables(self.flags.e)
        sessions = sessions_of(self.host, config, self.flags.accept_new, exclusive=False)
        try:
            facts = read_facts(sessions)
            (ask,) = evaluate_variables(
                PLAYBOOK, self.host, self.inventory, facts, extra, ("offers_command",)
            )
            shell = RootShell(sessions.hand_over(), sudo_password(self.host, config))
            offers = shell.run(UPDATE + str(ask), longest=LISTS_TIMEOUT, silence=LISTS_TIMEOUT)
            shell.close()
        finally:
            sessions.close()
        lines = offers.out.decode("utf-8", "replace").splitlines()
        return make_plan(self.host, self.inventory, facts, lines, self.settings, extra)

    @property
    def _guard(self) -> Guard:
        def open_shell() -> RootShell:
            connection = RigConnection(self.host, self.context.config, self.flags.accept_new)
            return RootShell(connection, sudo_password(self.host, self.context.config))

        return Guard(open_shell)

    def _flags(self, settings: Mapping[str, Any]) -> Flags:
        added: Sequence[str] = (json.dumps(dict(settings)),) if settings else ()
        return replace(self.flags, e=(*self.flags.e, *added))

"""The reinstallation of one rig: plan, image, tree, trial boot, confirmation; undo and commit.

How far it is is read from the rig each time, so that a run that was cut off is continued by the
next one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import Enum

from provision.errors import DeeprigError
from provision.reinstall import image as images
from provision.reinstall.keys import choose_keys
from provision.reinstall.network import write_network
from provision.reinstall.plan import ReinstallPlan, make_plan
from provision.reinstall.rig import ReinstallRig
from provision.reinstall.survey import ReinstallSurvey
from provision.reinstall.systems import System

#: Seconds beyond the dead man's switch until the old system must be back: a slow board's two boots.
BOOT_SECONDS = 600.0
Announce = Callable[[str], None]


class ReinstallEnding(Enum):
    """How it ended; value: what is printed."""

    PLANNED = "planned"
    REFUSED = "refused"
    UNCHANGED = "nothing to do"
    INSTALLED = "installed"
    FELL_BACK = "the old system is back"
    UNDONE = "undone"
    COMMITTED = "committed"


@dataclass(frozen=True)
class ReinstallOutcome:
    """What was done. reasons: why it was refused, or why the new system did not stay."""

    ending: ReinstallEnding
    survey: ReinstallSurvey
    plan: ReinstallPlan | None = None
    reasons: tuple[str, ...] = ()


@dataclass
class Reinstallation:
    """What the work on one rig needs. trial_seconds: of the dead man's switch."""

    rig: ReinstallRig
    own_keys: Collection[str]
    announce: Announce
    progress: Announce
    trial_seconds: int

    def plan(self, system: System) -> ReinstallOutcome:
        """Return what `install` would do."""
        survey = self.rig.read()
        plan = make_plan(survey, system, 0)
        ending = ReinstallEnding.REFUSED if plan.refusals else ReinstallEnding.PLANNED
        return ReinstallOutcome(ending, survey, plan, plan.refusals)

    def install(
        self,
        system: System,
        find_image: Callable[[], images.Image],
        keep_backup: Callable[[], None],
        is_again: bool = False,
    ) -> ReinstallOutcome:
        """Build, boot once and confirm, from where the rig is. Raises DeeprigError.

        keep_backup: called before the first change.
        """
        survey = self.rig.read()
        if survey.is_new:
            return self._confirm(survey)
        if survey.running and survey.system_key == system.key and not is_again:
            return ReinstallOutcome(ReinstallEnding.UNCHANGED, survey)
        plan = make_plan(survey, system, 0)
        if plan.refusals:
            return ReinstallOutcome(ReinstallEnding.REFUSED, survey, plan, plan.refusals)
        keys = choose_keys(survey.keys, self.own_keys)
        image = find_image()
        plan = make_plan(survey, system, image.size)
        if plan.refusals:
            return ReinstallOutcome(ReinstallEnding.REFUSED, survey, plan, plan.refusals)
        keep_backup()
        there = survey.tree(plan.tree)
        if there is None or there.digest != image.digest:
            self.announce(f"sending {system.name}, {image.size / 1e6:.0f} MB")
            self.rig.send_image(image, self.progress)
            self.announce("unpacking it")
            self.rig.run("unpack.sh", plan.tree, image.digest)
        self.announce("giving it the rig's name, host keys, user and network")
        self.rig.send_files(keys, write_network(survey))
        boot = survey.boot_uuid if survey.boot_uuid not in ("", survey.uuid) else "-"
        self.rig.run("personalise.sh", plan.tree, self.rig.user, survey.sudo, boot, system.key)
        self.announce("adding it to GRUB's menu, for one boot")
        self.rig.run("boot.sh", "trial", plan.tree, str(self.trial_seconds))
        return self._try(plan, survey)

    def _try(self, plan: ReinstallPlan, before: ReinstallSurvey) -> ReinstallOutcome:
        self.announce(
            f"trial boot: unless it is confirmed, the old system comes back by itself after "
            f"{self.trial_seconds / 60:.0f} min"
        )
        self.rig.reboot()
        after = self.rig.wait_for_boot(
            before.boot_id, self.trial_seconds + BOOT_SECONDS, self.progress
        )
        if after.running != plan.tree:
            return ReinstallOutcome(
                ReinstallEnding.FELL_BACK, after, plan, self._read_reasons(plan.tree)
            )
        return self._confirm(after, plan)

    def _confirm(
        self, survey: ReinstallSurvey, plan: ReinstallPlan | None = None
    ) -> ReinstallOutcome:
        self.announce(f"{survey.system} runs: it becomes the default")
        self.rig.run("boot.sh", "default", survey.running)
        return ReinstallOutcome(ReinstallEnding.INSTALLED, self.rig.read(), plan)

    def _read_reasons(self, tree: str) -> tuple[str, ...]:
        """Return what the new system wrote before the old one came back."""
        try:
            text = self.rig.run("reasons.sh", tree)
        except DeeprigError as error:
            return (f"its journal can't be read: {error.message}",)
        return tuple(line for line in text.splitlines() if line.strip())

    def undo(self, is_check: bool = False) -> ReinstallOutcome:
        """Go back to the old system; the new one stays on the disk. Raises DeeprigError."""
        survey = self.rig.read()
        if is_check:
            what = survey.old or "the old system"
            reason = f"{what} would become the default again" if survey.running else "it runs"
            return ReinstallOutcome(ReinstallEnding.UNCHANGED, survey, reasons=(reason,))
        if not survey.running:
            self.rig.run("boot.sh", "old")
            return ReinstallOutcome(ReinstallEnding.UNCHANGED, self.rig.read())
        self.rig.run("boot.sh", "old")
        self.announce("the old system is the default: restarting")
        self.rig.reboot()
        after = self.rig.wait_for_boot(survey.boot_id, BOOT_SECONDS, self.progress)
        if after.running == survey.running:
            raise DeeprigError(
                "the new system came up again",
                advice="Run fab reinstall --undo again; a power cycle does not help here.",
            )
        return ReinstallOutcome(ReinstallEnding.UNDONE, after)

    def commit(self, is_check: bool = False) -> ReinstallOutcome:
        """Remove the old system. Raises DeeprigError."""
        survey = self.rig.read()
        if not survey.running:
            raise DeeprigError(
                "this is the old system, which would be removed",
                advice="fab reinstall first; then --commit.",
            )
        if not survey.has_old:
            return ReinstallOutcome(ReinstallEnding.UNCHANGED, survey)
        if is_check:
            reason = f"{survey.old or 'the old system'} would be removed"
            return ReinstallOutcome(ReinstallEnding.UNCHANGED, survey, reasons=(reason,))
        self.announce("removing the old system")
        freed = self.rig.run("commit.sh").strip()
        return ReinstallOutcome(ReinstallEnding.COMMITTED, self.rig.read(), reasons=(freed,))

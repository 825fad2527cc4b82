"""The guard on the rig (playbooks/templates/upgrade-guard.j2), as the operator's side sees it."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from provision.boundary.text import clean_line
from provision.errors import DeeprigError, LostError
from provision.ssh.shell import RootShell

PROGRAM = "/opt/deeprig/bin/upgrade-guard"
POLL = 2.0  # seconds between two questions to a rig that is away, or at work
MOST_OF_BACK = 3600.0  # seconds for packages, initramfs, module and boot of a slow rig
UNDECIDED = ("armed", "going-back")


@dataclass(frozen=True)
class GuardStatus:
    """What the guard reports.

    state: none, armed, going-back, back, stuck or confirmed. boot: the boot in which it went back;
    running: the boot that answers. left: what did not come back.
    """

    state: str = "none"
    reason: str = ""
    left: str = ""
    boot: str = ""
    running: str = ""
    reboots: str = ""

    @property
    def is_undecided(self) -> bool:
        """Whether an upgrade has begun, and is neither confirmed nor taken back."""
        return self.state in UNDECIDED

    @property
    def is_done(self) -> bool:
        """Whether it has gone back, as far as it could, and runs what it went back to."""
        return self.state in ("back", "stuck") and (
            self.reboots != "yes" or self.boot != self.running
        )

    def has_acted_since(self, earlier: GuardStatus) -> bool:
        """Return whether it was armed after `earlier`, whether or not it has gone back by now."""
        return self.is_undecided or (
            self.state != "none" and replace(self, running="") != replace(earlier, running="")
        )

    def list_reasons(self, asked: str) -> tuple[str, ...]:
        """Return why it went back, and what did not come back.

        asked: the reason that it was given. Its own comes first where it had begun before that:
        what was found afterwards is then of a rig that had gone back already.
        """
        earlier = self.reason if self.reason != asked.partition("\n")[0] else ""
        return tuple(filter(None, [earlier, asked, self.left]))

    @classmethod
    def parse(cls, text: str) -> GuardStatus:
        """Return what lines NAME=VALUE mean; other lines are none of them."""
        fields = cls.__dataclass_fields__
        pairs = (line.partition("=") for line in text.splitlines())
        return cls(**{name: clean_line(value) for name, _, value in pairs if name in fields})


class Guard:
    """Asks the guard of one rig, over a new connection each time: boots come in between."""

    def __init__(self, open_shell: Callable[[], RootShell]) -> None:
        self._open_shell = open_shell

    def status(self) -> GuardStatus:
        """Return its status. Raises UnreachableError, LostError."""
        there = self._run(f"[ ! -x {PROGRAM} ] || {PROGRAM} status")
        return GuardStatus.parse(there)

    def confirm(self) -> None:
        """Let the upgrade stay."""
        self._run(f"{PROGRAM} confirm")

    def go_back(self, reason: str) -> GuardStatus:
        """Take the upgrade back, wait until the rig runs what it had; return the status."""
        # By systemd: the connection may end before it does.
        self._run(
            f"systemd-run --quiet --collect --unit deeprig-upgrade-back {PROGRAM} back "
            + shlex.quote(reason)
        )
        return self.wait(lambda status: status.is_done, MOST_OF_BACK)

    def wait(self, until: Callable[[GuardStatus], bool], seconds: float) -> GuardStatus:
        """Ask until the answer is the wanted one. Raises the last error, or LostError."""
        deadline = time.monotonic() + seconds
        while True:
            error: DeeprigError | None = None
            try:
                status = self.status()
                if until(status):
                    return status
            except DeeprigError as failure:
                error = failure
            if time.monotonic() > deadline:
                raise error or LostError(
                    f"after {seconds:.0f} s the guard is still in the state {status.state}",
                    advice="Its log is /var/lib/deeprig/upgrade/log on the rig.",
                )
            time.sleep(POLL)

    def _run(self, command: str) -> str:
        shell = self._open_shell()
        try:
            done = shell.run(command)
        finally:
            shell.close()
        if done.status != 0:
            raise DeeprigError(f"`{command}` failed: {done.last_words or done.status}")
        return done.out.decode("utf-8", "replace")

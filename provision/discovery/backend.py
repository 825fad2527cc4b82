"""pytest-testinfra's commands over provisioning's own SSH session: same inventory, same host keys.

testinfra's own backends start OpenSSH or Paramiko with other settings.
"""

from __future__ import annotations

from typing import Any

from testinfra.backend.base import BaseBackend, CommandResult

from provision.errors import HungError, LostError
from provision.ssh.shell import LONGEST_RUN, SILENCE, OnLine, RootShell

PROBE = 15.0  # seconds in which a rig that is still there runs a command that does nothing
LOST = "lost the rig in the middle"
ADVICE = "See whether it still answers, then run again."


class RigBackend(BaseBackend):  # type: ignore[misc]
    """Runs testinfra's commands in a root shell on the rig."""

    NAME = "deeprig"

    def __init__(self, name: str, shell: RootShell) -> None:
        super().__init__(name)
        self._shell = shell
        self._encoding = "UTF-8"

    def run(self, command: str, *args: str, **_: Any) -> CommandResult:
        """Run a shell command. Raises UnreachableError, LostError."""
        return self.follow(self.quote(command, *args))

    def follow(
        self,
        command: str,
        on_line: OnLine | None = None,
        silence: float = SILENCE,
        content: str = "",
        longest: float = LONGEST_RUN,
    ) -> CommandResult:
        """Return the same, as `RootShell.run` has it: lines as they come, and what it reads.

        A command that hangs on a rig that still answers raises HungError, not LostError.
        """
        try:
            done = self._shell.run(command, on_line, silence, content, longest=longest)
        except HungError:
            self._reassure()
            raise
        if done.status == -1 and not self._shell.transport.is_connected:
            raise LostError(f"{LOST}: the connection ended", advice=ADVICE)
        return self.result(done.status, command.encode(), done.out, done.error)

    def _reassure(self) -> None:
        """Check that the rig still answers. Raises UnreachableError, LostError."""
        try:
            self._shell.run("true", silence=PROBE)
        except HungError:
            raise LostError(f"{LOST}: it runs nothing any more", advice=ADVICE) from None

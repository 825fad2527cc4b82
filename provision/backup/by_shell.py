"""Restore a rig by its shell alone: the program of playbooks/restore.yml, without Python there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from provision.boundary.text import clean
from provision.errors import DeeprigError, ExitStatus
from provision.inventory.hosts import Host
from provision.paths import PLAYBOOKS
from provision.ssh.shell import LONGEST, RootShell
from provision.ssh.worker_bundle import OLDEST_PYTHON
from provision.templating.host_variables import render_variable

PROGRAM = tuple(
    PLAYBOOKS / "files" / "restore" / name for name in ("compare.sh", "homes.sh", "restore.sh")
)
LONGEST_RESTORE = 3600.0  # seconds: a stick is slow, and an initramfs takes minutes
REFUSED = 2  # the program's exit status without a usable backup


@dataclass(frozen=True)
class ShellRestore:
    """What the program printed, and how it ended. status: 0, or 1 where something differs."""

    status: int
    lines: tuple[str, ...]

    @property
    def exit_status(self) -> int:
        """The command's exit status: as that of a task that failed."""
        return ExitStatus.ERROR if self.status else ExitStatus.OK

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"status": self.status, "lines": list(self.lines), "python": False}


def has_usable_python(shell: RootShell, host: Host) -> bool:
    """Return whether the rig has the Python that a playbook needs there. Raises LostError."""
    interpreter = str(render_variable(host, "ansible_python_interpreter") or "python3")
    probe = f"{interpreter} -IS -c 'import sys; sys.exit(sys.version_info < {OLDEST_PYTHON})'"
    done = shell.run(f"{probe} >/dev/null 2>&1 && echo usable || echo without-python")
    # A login that does not become root is the play's to explain.
    return b"without-python" not in done.out


def restore(shell: RootShell, folder: str, check: bool) -> ShellRestore:
    """Restore from a folder of the rig. Raises LostError, DeeprigError without a usable backup."""
    program = "".join(path.read_text(encoding="utf-8") for path in PROGRAM)
    options = "--check" if check else "--lock"
    # The lists of what differs may take minutes without a word.
    done = shell.run(
        f"sh -s -- {options} {folder}", content=program, silence=LONGEST, longest=LONGEST_RESTORE
    )
    lines = tuple(clean(line) for line in done.out.decode("utf-8", "replace").splitlines())
    if done.status == REFUSED:
        raise DeeprigError(" ".join(lines))
    if done.status not in (0, 1):
        raise DeeprigError(
            f"the restore ended early: {done.last_words or 'no reason given'}",
            advice="Run it again: what is done stays done.",
        )
    return ShellRestore(done.status, lines)

"""The steps of `fab reinstall` on a rig: each is a shell program that can be run again."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import BinaryIO

from provision.errors import DeeprigError, LostError, UnreachableError
from provision.paths import PLAYBOOKS
from provision.reinstall.image import Image
from provision.reinstall.survey import ReinstallSurvey, parse_survey
from provision.ssh.shell import LONGEST_RUN, RootShell

PROGRAMS = PLAYBOOKS / "files" / "reinstall"
IMAGE = "/deeprig.image"  # in the running system, which is on the same file system
KEYS, NETWORK = "/deeprig.keys", "/deeprig.network"
SILENCE = 1800.0  # seconds: a stick unpacks, and update-grub looks for systems, without a word
PAUSE = 2.0  # seconds between two attempts to reach a rig that boots
REFUSED = 3  # exit status of a step with a reason
OpenShell = Callable[[], RootShell]
Progress = Callable[[str], None]


@dataclass
class ReinstallRig:
    """A rig by how it is reached, and by the user who logs in.

    A step that loses the connection raises LostError.
    """

    open_shell: OpenShell
    user: str

    def read(self) -> ReinstallSurvey:
        """Return what the rig is now. Raises DeeprigError."""
        return parse_survey(self.run("survey.sh", self.user))

    def run(self, step: str, *arguments: str) -> str:
        """Run a step; return what it printed. Raises DeeprigError with its reason, LostError."""
        program = "".join(
            (PROGRAMS / name).read_text(encoding="utf-8") for name in ("common.sh", step)
        )
        words = " ".join(map(shlex.quote, arguments))
        with closing(self.open_shell()) as shell:
            done = shell.run(
                f"sh -s -- {words}", content=program, silence=SILENCE, longest=2 * SILENCE
            )
        if done.status == -1:
            raise LostError("lost the rig in the middle", advice="Run again: it goes on.")
        if done.status != 0:
            what = done.last_words or "no reason given"
            raise DeeprigError(what if done.status == REFUSED else f"{step}: {what}")
        return done.out.decode("utf-8", "replace")

    def send_image(self, image: Image, progress: Progress) -> None:
        """Send an image, from where an earlier attempt ended. Raises DeeprigError, LostError."""
        with closing(self.open_shell()) as shell, image.path.open("rb") as stream:
            asked = shell.run(f"stat -c %s {IMAGE} 2>/dev/null || echo 0")
            done = int(asked.out or b"0")
            done = done if done <= image.size else 0
            stream.seek(done)
            sent = shell.run(
                f"umask 077; cat {'>>' if done else '>'} {IMAGE}",
                content=_CountedStream(stream, done, image.size, progress),  # type: ignore[arg-type]
                silence=SILENCE,
                longest=LONGEST_RUN,
            )
        if sent.status != 0:
            raise DeeprigError(f"the image can't be stored: {sent.last_words or 'no reason given'}")

    def send_files(self, keys: Sequence[str], network: Mapping[str, str]) -> None:
        """Send the operator's public keys and the settings of the network. Raises DeeprigError."""
        lines = [f"umask 077; rm -rf {NETWORK}; mkdir {NETWORK}"]
        lines += [
            f"printf '%s' {shlex.quote(text)} >{NETWORK}/{name}" for name, text in network.items()
        ]
        lines.append(f"printf '%s\\n' {' '.join(map(shlex.quote, keys))} >{KEYS}")
        with closing(self.open_shell()) as shell:
            done = shell.run(" && ".join(lines))
        if done.status != 0:
            raise DeeprigError(f"the settings can't be stored: {done.last_words}")

    def reboot(self) -> None:
        """Restart the rig; the connection ends."""
        with closing(self.open_shell()) as shell, suppress(LostError):
            shell.run("systemctl reboot || reboot", silence=30, longest=60)

    def wait_for_boot(self, before: str, seconds: float, progress: Progress) -> ReinstallSurvey:
        """Wait until the rig answers after a reboot; return what runs then.

        before: the boot_id of the boot that ends. Raises UnreachableError after `seconds`.
        """
        begin = time.monotonic()
        reason = "no answer"
        while (waited := time.monotonic() - begin) < seconds:
            progress(f"waiting for the rig, {waited:.0f} s")
            try:
                survey = self.read()
            except DeeprigError as error:
                reason = error.message
            else:
                if survey.boot_id != before:
                    return survey
                reason = "it has not restarted yet"
            time.sleep(PAUSE)
        raise UnreachableError(
            f"the rig did not come back within {seconds / 60:.0f} min: {reason}",
            advice="A power cycle always leads to the old system. Then run again.",
        )


class _CountedStream:
    """Reads a file for sending, and reports how far it is."""

    def __init__(self, stream: BinaryIO, done: int, size: int, progress: Progress) -> None:
        self._stream = stream
        self._done = done
        self._size = size
        self._progress = progress

    def read(self, size: int = -1) -> bytes:
        part = self._stream.read(size)
        self._done += len(part)
        self._progress(f"sending the image, {self._done / 1e6:.0f} of {self._size / 1e6:.0f} MB")
        return part

"""Shell commands on a rig, over provisioning's own connection; their lines as they come.

For what runs long or speaks for itself. What plays tasks has sessions with a worker instead
(provision/ssh/worker_session.py).
"""

from __future__ import annotations

import contextlib
import io
import shlex
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

import paramiko

from provision.boundary.decode import BoundaryError
from provision.boundary.text import clean, clean_line
from provision.errors import HungError, LostError, OtherSystemError
from provision.ssh.connection import CHANNEL_TIMEOUT
from provision.ssh.transport import Channel, Transport

SILENCE = 120.0  # seconds without a byte from a command, unless its caller allows more
LONGEST = 600.0  # seconds for a whole command, unless its caller allows more
LONGEST_RUN = (
    24 * 3600.0
)  # seconds for commands with their own deadlines, or with an operator who waits
MOST = 64 << 20  # bytes that a command may write, where its caller names no other limit
MOST_COMPLAINTS = 1 << 20  # bytes of its standard error; what comes then is not kept
CHUNK = 65536  # bytes
NO_MORE = "deeprig-no-more"  # for sudo's second attempt
BEGIN = "deeprig-begin"  # between sudo's password and the command's own input
#: What every command writes first: what a login prints before it is not the command's, and a shell
#: that does not write it has not run the command.
MARK = b"deeprig-shell\n"
MOST_NOISE = 1 << 18  # bytes before it
OnLine = Callable[[str], None]


@dataclass(frozen=True)
class ShellResult:
    """How a command ended, and what it wrote. status -1: the connection ended before it."""

    status: int
    out: bytes
    error: bytes

    @property
    def last_words(self) -> str:
        """The last line of its complaints; empty when it had none."""
        lines = self.error.decode("utf-8", "replace").strip().splitlines()
        return clean_line(lines[-1]) if lines else ""


class Shell:
    """Runs commands on a rig as the user who logs in. Several may run at once."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport

    def run(
        self,
        command: str,
        on_line: OnLine | None = None,
        silence: float = SILENCE,
        content: str | BinaryIO = "",
        sink: BinaryIO | None = None,
        longest: float = LONGEST,
        most: int = MOST,
    ) -> ShellResult:
        """Run a command, hand on each line that it writes, and keep them all.

        Raises UnreachableError, LostError; OtherSystemError where the login's shell does not run
        commands; HungError after `silence` seconds without a word, or
        after `longest` seconds in all; BoundaryError where it writes more than `most` bytes.

        content: what it reads. Its standard input stays open until it ends: a command that
        watches for the end of it knows when the operator has gone away.
        sink: takes what it writes, which then is not kept.
        """
        channel = self.transport.open_channel(silence)
        try:
            channel.exec_command(self._words(command))
            if first := self._first_line():
                channel.sendall(first)
            if content:
                source = io.BytesIO(content.encode()) if isinstance(content, str) else content
                while part := source.read(CHUNK):
                    channel.sendall(part)
                channel.shutdown_write()
            reading = _Reading(channel, time.monotonic() + longest, most)
            out, error = reading.run(on_line, sink)
            done = ShellResult(channel.recv_exit_status(), out, error)
        except TimeoutError:
            raise HungError(
                f"a command printed nothing for {silence:.0f} s",
                advice="See whether the rig still answers, and what hangs there.",
            ) from None
        except (OSError, EOFError, paramiko.SSHException) as problem:
            raise LostError(
                f"lost the rig in the middle: {str(problem) or 'no answer'}",
                advice="See whether it still answers, then run again.",
            ) from None
        finally:
            channel.close()
        if not reading.has_begun:
            self._check_begun(reading, done)
        return done

    def close(self) -> None:
        """End the connection: what runs over it sees the end of its input. From any thread."""
        self.transport.close()

    def _check_begun(self, reading: _Reading, done: ShellResult) -> None:
        """Explain a command that did not begin: the login's shell does not run commands."""
        if done.status == -1:  # the connection ended
            return
        texts = (clean(text.decode("utf-8", "replace")) for text in (reading.noise, done.error))
        lines = [line.strip() for text in texts for line in text.splitlines() if line.strip()]
        raise OtherSystemError(
            f"{self.transport.host} accepts the login, but its shell does not run commands: "
            f"it wrote {lines[0][:200]!r}"
            if lines
            else f"{self.transport.host} accepts the login, but its shell runs nothing",
            advice="Is this the rig? Its login shell may be restricted (rbash, nologin), or its "
            "key tied to one command (command= in authorized_keys).",
        )

    def _words(self, command: str) -> str:
        """Return the command line for the login shell."""
        begun = f"echo {MARK.decode().strip()}\n{command}"
        return f"exec env LC_ALL=C.UTF-8 sh -c {shlex.quote(begun)}"

    def _first_line(self) -> bytes:
        """Return the bytes that precede the command's input."""
        return b""


class _Reading:
    """Reads both streams of a command to their end, within bounds of time and bytes."""

    def __init__(self, channel: Channel, deadline: float, most: int) -> None:
        self._channel = channel
        self._deadline = deadline
        self._most = most
        self.has_begun = False
        self.noise = b""

    def run(self, on_line: OnLine | None, sink: BinaryIO | None) -> tuple[bytes, bytes]:
        """Return what was written; one stream may fill while the other is silent."""
        out, error, reported, count = bytearray(), bytearray(), 0, 0

        def drain() -> None:
            with contextlib.suppress(OSError):
                while chunk := self._channel.recv_stderr(CHUNK):
                    error.extend(chunk[: MOST_COMPLAINTS - len(error)])

        reader = threading.Thread(target=drain, daemon=True)
        reader.start()
        while chunk := self._channel.recv(CHUNK):
            if not self.has_begun and not (chunk := self._skip_noise(chunk)):
                continue
            count += len(chunk)
            self._check(count)
            if sink is not None:
                sink.write(chunk)
                continue
            out += chunk
            while on_line and (end := out.find(b"\n", reported)) >= 0:
                on_line(out[reported:end].decode("utf-8", "replace"))
                reported = end + 1
        reader.join(CHANNEL_TIMEOUT)
        return bytes(out), bytes(error)

    def _skip_noise(self, chunk: bytes) -> bytes:
        """Return what is the command's own; what a login printed before it is kept apart."""
        self.noise += chunk
        before, mark, after = self.noise.partition(MARK)
        if mark:
            self.has_begun, self.noise = True, before
            return after
        self._check(0)
        if len(self.noise) > MOST_NOISE:
            raise BoundaryError(
                f"the login wrote {len(self.noise)} bytes, and ran no command",
                advice="Look at what that user's login files print (.profile, .bashrc, motd).",
            )
        return b""

    def _check(self, count: int) -> None:
        if count > self._most:
            raise BoundaryError(
                f"a command wrote more than {self._most} bytes",
                advice="That is not a plausible answer. Look at the rig's own console.",
            )
        if time.monotonic() > self._deadline:
            raise HungError(
                "a command did not finish in time",
                advice="See whether the rig still answers, and what hangs there.",
            )


class RootShell(Shell):
    """Runs commands on a rig as root: by sudo where the login is another user's."""

    def __init__(self, transport: Transport, sudo_password: str | None) -> None:
        super().__init__(transport)
        self.sudo_password = sudo_password

    def _check_begun(self, reading: _Reading, done: ShellResult) -> None:
        # sudo refuses on standard error; the caller reports it.
        if self._is_root() or reading.noise.strip() or done.status == 0:
            super()._check_begun(reading, done)

    def _is_root(self) -> bool:
        return self.transport.user == "root"

    def _words(self, command: str) -> str:
        words = super()._words(command)
        if self._is_root():
            return words
        if self.sudo_password is None:
            return f"LC_ALL=C exec sudo -n -H -- {words.removeprefix('exec ')}"
        # sudo reads the password only where it needs one: the command must not get what it left.
        # After a wrong password it waits for two more, so a second line follows at once.
        skip = f'while IFS= read -r line && [ "$line" != {BEGIN} ]; do :; done'
        words = super()._words(f"{skip}; {command}")
        return f"LC_ALL=C exec sudo -S -p '' -H -- {words.removeprefix('exec ')}"

    def _first_line(self) -> bytes:
        if self.sudo_password is None or self._is_root():
            return b""
        return f"{self.sudo_password}\n{NO_MORE}\n{BEGIN}\n".encode()

"""One worker on one rig, over one channel: send a batch, hear how it goes.

A round trip is paid per batch, not per task. Silence longer than `SILENCE` is a dead peer: the
worker gives a sign of life more often than that, whatever it is doing.
"""

from __future__ import annotations

import contextlib
import shlex
import socket
from collections.abc import Callable, Iterator
from typing import Any

import paramiko

from provision import bundle
from provision.connection import CHANNEL_TIMEOUT, RigConnection
from provision.errors import LostError, UnreachableError
from provision.remote.frames import GREETING, BadFrame, Frame, pack, unpack

SILENCE = 30.0  # seconds; the worker's heartbeat is 5

Unit = dict[str, Any]
Progress = Callable[[Frame], None]


class Session:
    """A worker on the rig. `become_user` None: the login user itself.

    Raises UnreachableError when none can be started, LostError when it is lost later.
    """

    def __init__(
        self,
        connection: RigConnection,
        become_user: str | None,
        become_password: str | None = None,
        interpreter: str = "python3",
        exclusive: bool = True,
        silence: float = SILENCE,
    ) -> None:
        self.connection = connection
        self.become_user = become_user
        self.frames_sent = 0
        self.frames_received = 0
        self.hello: Frame = {}
        self._password = become_password
        self._interpreter = interpreter
        self._exclusive = exclusive
        self._silence = silence
        self._channel: paramiko.Channel | None = None
        self._buffer = b""
        self._batch = 0

    def run(self, units: list[Unit], progress: Progress) -> Iterator[Frame]:
        """Send a batch and yield the frames that tell of it, the last one `done`."""
        self._batch += 1
        request = pack({"batch": self._batch, "units": units})
        if self._channel is None:
            self._start(request)
        else:
            self._send(request)
        self.frames_sent += 1
        while True:
            frame = self._receive()
            progress(frame)
            yield frame
            if frame["done"]:
                return

    def close(self) -> None:
        """End the worker; the task at hand, if any, is ended first by the worker itself."""
        self.abort()
        self._channel = None

    def abort(self) -> None:
        """The same from another thread: the one that waits for a frame gets a LostError."""
        channel = self._channel
        if channel is not None:
            with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
                channel.sendall(pack({"op": "bye"}))
            _shut(channel)

    def _command(self) -> str:
        python = bundle.command(self._interpreter)
        if self.become_user is None:
            return f"exec env LC_ALL=C {python}"
        how = "-n" if self._password is None else "-S -p ''"
        user = shlex.quote(self.become_user)
        # sudo -H: pip's and others' caches go to the right home.
        return f"LC_ALL=C exec sudo {how} -H -u {user} -- {python}"

    def _start(self, first: bytes) -> None:
        """Start the worker and send the first batch along: both need one round trip in all."""
        self.connection.open()
        transport = self.connection.transport
        try:
            channel = transport.open_session(timeout=CHANNEL_TIMEOUT)
            channel.settimeout(self._silence)
            channel.exec_command(f"exec sh -c {shlex.quote(self._command())}")
            self._channel = channel
            password = f"{self._password}\n".encode() if self._password is not None else b""
            with contextlib.suppress(OSError):  # an early exit is explained by what it wrote
                channel.sendall(password + bundle.payload(self._exclusive) + first)
            self._greeting()
        except (paramiko.SSHException, EOFError, TimeoutError) as error:
            self._channel = None
            raise UnreachableError(
                f"{self.connection.host} took the login but no command: {error or 'no answer'}",
                advice="Look at the rig's own console: it may be out of memory or disk space.",
            ) from None
        hello = self._receive()
        self.hello = hello["hello"]
        if self.hello["busy"]:
            self._channel = None
            raise UnreachableError(
                f"another run is at work on this rig ({self.hello['busy']})",
                advice="Two runs would undo each other: wait for it to end.",
            )

    def _greeting(self) -> None:
        """Skip what the login shell says; explain a worker that does not start."""
        assert self._channel is not None
        heard = b""
        while GREETING not in heard:
            chunk = self._channel.recv(65536)
            if not chunk:
                raise self._no_worker(heard.decode("utf-8", "replace"))
            heard += chunk
        self._buffer = heard.split(GREETING, 1)[1]

    def _no_worker(self, heard: str) -> UnreachableError:
        assert self._channel is not None
        said = self._stderr() or heard
        self._channel = None
        text = said.lower()
        user = self.connection.user
        if "incorrect password" in text or "sorry, try again" in text or "no password" in text:
            return UnreachableError(
                f"sudo did not accept the password of '{user}'",
                advice="Set ansible_become_password for this host.",
            )
        if "a password is required" in text or "terminal is required" in text:
            return UnreachableError(
                f"sudo wants a password for '{user}', and none is known",
                advice="Set ansible_become_password for this host, or log in as root.",
            )
        if "not in the sudoers" in text or "may not run sudo" in text or "not allowed" in text:
            return UnreachableError(
                f"'{user}' may not use sudo on this rig", advice="Log in as a user who may."
            )
        if "not found" in text or "no such file" in text:
            return UnreachableError(
                f"there is no {self._missing(text)} on this rig",
                advice="Install it there (apt install python3 sudo), or name another one with "
                "ansible_python_interpreter.",
            )
        if "permission denied" in text:
            return UnreachableError(
                f"'{user}' may not run Python ({self._interpreter}) on this rig",
                advice="Make it executable for all (chmod 755), or name another one with "
                "ansible_python_interpreter.",
            )
        return UnreachableError(
            "the worker did not start", advice=said.strip() or "It gave no reason."
        )

    def _missing(self, text: str) -> str:
        return "sudo" if "sudo: not found" in text else f"Python ({self._interpreter})"

    def _stderr(self) -> str:
        assert self._channel is not None
        said = b""
        with contextlib.suppress(TimeoutError):
            while chunk := self._channel.recv_stderr(65536):
                said += chunk
        return said.decode("utf-8", "replace")

    def _send(self, data: bytes) -> None:
        assert self._channel is not None
        try:
            self._channel.sendall(data)
        except (OSError, EOFError) as error:
            raise self._lost(str(error) or "the connection is closed") from None

    def _read(self, count: int) -> bytes:
        assert self._channel is not None
        while len(self._buffer) < count:
            try:
                chunk = self._channel.recv(max(65536, count - len(self._buffer)))
            except TimeoutError:
                raise self._lost(f"no sign of life for {self._silence:g} s") from None
            except (socket.error, EOFError) as error:  # noqa: UP024
                raise self._lost(str(error)) from None
            if not chunk:
                break
            self._buffer += chunk
        data, self._buffer = self._buffer[:count], self._buffer[count:]
        return data

    def _receive(self) -> Frame:
        try:
            frame = unpack(self._read)
        except BadFrame as error:
            raise self._lost(f"it sent something else than frames ({error})") from None
        if frame is None:
            assert self._channel is not None
            said = self._stderr().strip()
            raise self._lost(said or "the connection was closed")
        self.frames_received += 1
        return frame

    def _lost(self, why: str) -> LostError:
        if self._channel is not None:
            _shut(self._channel)
            self._channel = None
        return LostError(
            f"lost the rig in the middle: {why}",
            advice="Run the same command again: what is done stays done.",
        )


def _shut(channel: paramiko.Channel) -> None:
    """Close a channel; where the connection is gone already, that is no error."""
    with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
        channel.close()

"""One worker on one rig, over one channel: send a batch, hear how it goes.

A round trip is paid per batch, not per task. Silence longer than `SILENCE` is a dead peer: both
sides give a sign of life more often than that, whatever they are doing. What the rig sends is
bounded, and checked against what it was asked (provision/boundary/messages.py).
"""

from __future__ import annotations

import contextlib
import re
import shlex
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import paramiko

from provision.boundary.decode import LIMITS, BoundaryError, check_type
from provision.boundary.messages import (
    Batch,
    BatchNews,
    Progress,
    WaitingRun,
    WorkerHello,
    WorkUnit,
    decode_frame,
)
from provision.boundary.text import clean, clean_line
from provision.errors import DeeprigError, LostError, UnreachableError
from provision.remote.frames import GREETING, HEARTBEAT, BadFrame, Frame, pack, read_body
from provision.ssh import worker_bundle
from provision.ssh.connection import silent_login_error
from provision.ssh.shell import Shell
from provision.ssh.transport import Channel, Transport

SILENCE = 30.0  # seconds; several heartbeats
#: From the command to the worker's first word; Python on a slow disk takes 3 seconds.
GREETING_SECONDS = 60.0
LONGEST_WAIT = 7200.0  # seconds for the last task of a run whose operator is gone
LONGEST_BATCH = 86400.0  # seconds; PyTorch over a slow line takes some hours
MOST_BEFORE_GREETING = 1 << 20  # bytes of a login shell's own words
MOST_OF_A_SESSION = 1 << 30  # bytes; a whole provision sends 2 MB
MOST_OF_STDERR = 1 << 16  # bytes

OnProgress = Callable[[Progress], None]


class WorkerSession:
    """A worker on the rig. `become_user` None: the login user itself.

    Raises UnreachableError when none can be started, LostError when it is lost later.
    """

    def __init__(
        self,
        transport: Transport,
        become_user: str | None,
        become_password: str | None = None,
        interpreter: str = "python3",
        exclusive: bool = True,
        silence: float = SILENCE,
    ) -> None:
        self.transport = transport
        self.become_user = become_user
        self.frames_sent = 0
        self.frames_received = 0
        self.hello: Frame = {}
        self._password = become_password
        self._interpreter = interpreter
        self._exclusive = exclusive
        self._silence = silence
        self._channel: Channel | None = None
        self._buffer = b""
        self._received = 0  # bytes
        self._batch = 0
        self._sending = threading.Lock()
        self._ended = threading.Event()

    def run(self, units: Sequence[WorkUnit], on_progress: OnProgress) -> Iterator[BatchNews]:
        """Send a batch and yield what the rig reports of it, until it is done."""
        self._batch += 1
        batch = Batch(self._batch, units)
        request = pack({"batch": self._batch, "units": list(units)})
        if self._channel is None:
            first = tuple(units[0]["id"])
            self._start(request, lambda waiting: on_progress(_as_progress(first, waiting)))
        else:
            self._send(request)
        self.frames_sent += 1
        deadline = time.monotonic() + LONGEST_BATCH
        while True:
            frame = self._receive()
            if time.monotonic() > deadline:
                raise self._lost_error(f"a batch of tasks did not end within {LONGEST_BATCH:g} s")
            try:
                news = batch.check(frame)
            except BoundaryError as error:
                raise self._protocol_error(error) from None
            if news.current is not None:
                on_progress(news.current)
            # Signs of life come by the clock: only the last frame of a batch is counted.
            self.frames_received += news.is_done
            yield news
            if news.is_done:
                return

    def close(self) -> None:
        """End the worker; the task at hand, if any, is ended first by the worker itself."""
        self.abort()
        self._channel = None

    def abort(self) -> None:
        """End the worker from another thread: a thread that waits for a frame gets a LostError."""
        self._ended.set()
        channel = self._channel
        if channel is not None:
            # Another thread may hang in a channel that takes nothing: closing it is bye enough.
            if self._sending.acquire(timeout=1):
                try:
                    with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
                        channel.sendall(pack({"op": "bye"}))
                finally:
                    self._sending.release()
            _shut(channel)

    def _command(self) -> str:
        python = worker_bundle.starting_command(self._interpreter)
        if self.become_user is None:
            return f"exec env LC_ALL=C {python}"
        how = "-n" if self._password is None else "-S -p ''"
        user = shlex.quote(self.become_user)
        # sudo -H: pip's and others' caches go to the right home.
        return f"LC_ALL=C exec sudo {how} -H -u {user} -- {python}"

    def _start(self, first: bytes, on_waiting: Callable[[WaitingRun], None]) -> None:
        """Start the worker and send the first batch along: both need one round trip in all.

        on_waiting: is called while a run whose operator is gone comes to its end.
        """
        channel = self.transport.open_channel(self._silence)
        try:
            channel.exec_command(f"exec sh -c {shlex.quote(self._command())}")
            self._channel = channel
            password = f"{self._password}\n".encode() if self._password is not None else b""
            with contextlib.suppress(OSError):  # an early exit is explained by what it wrote
                channel.sendall(password + worker_bundle.make_payload(self._exclusive) + first)
            self._greeting()
        except (paramiko.SSHException, EOFError, TimeoutError) as error:
            self._channel = None
            raise silent_login_error(self.transport.host, error) from None
        self._ended.clear()
        threading.Thread(target=self._give_signs_of_life, args=(channel,), daemon=True).start()
        self.hello = dict(self._hear_hello(on_waiting))
        self.frames_received += 1
        if self.hello["busy"] or self.hello["problem"]:
            self.abort()
            self._channel = None
        if self.hello["problem"]:
            raise UnreachableError(
                clean(self.hello["problem"]),
                advice="/run/deeprig must be root's own folder, on a disk that is not full.",
            )
        if self.hello["busy"]:
            raise UnreachableError(
                f"another run is at work on this rig ({self.hello['busy']})",
                advice="Two runs would undo each other: wait for it to end.",
            )

    def _hear_hello(self, on_waiting: Callable[[WaitingRun], None]) -> WorkerHello:
        deadline = time.monotonic() + LONGEST_WAIT
        try:
            while "waiting" in (frame := self._receive()):
                if time.monotonic() > deadline:
                    raise self._lost_error(f"another run did not end within {LONGEST_WAIT:g} s")
                on_waiting(check_type(frame["waiting"], WaitingRun, "frame"))
            return check_type(frame.get("hello"), WorkerHello, "greeting")
        except BoundaryError as error:
            raise self._protocol_error(error) from None

    def _give_signs_of_life(self, channel: Channel) -> None:
        """Tell the worker that this side is there, until the session ends."""
        sign = pack({"op": "alive"})
        while not self._ended.wait(HEARTBEAT):
            try:
                with self._sending:
                    channel.sendall(sign)
            except (OSError, EOFError, paramiko.SSHException):
                return  # the thread that waits for a frame raises

    def _greeting(self) -> None:
        """Skip what the login shell prints; explain a worker that does not start."""
        assert self._channel is not None
        heard = b""
        deadline = time.monotonic() + GREETING_SECONDS
        while GREETING not in heard:
            chunk = self._channel.recv(65536)
            if not chunk:
                raise self._no_worker(heard.decode("utf-8", "replace"))
            heard += chunk
            if len(heard) > MOST_BEFORE_GREETING or time.monotonic() > deadline:
                self._drop()
                raise UnreachableError(
                    f"the worker did not start: the login shell wrote {len(heard)} bytes instead",
                    advice="Look at what that user's login files print (.profile, .bashrc, motd).",
                )
        self._buffer = heard.split(GREETING, 1)[1]

    def _no_worker(self, heard: str) -> UnreachableError:
        assert self._channel is not None
        output = self._read_stderr() or heard
        self._channel = None
        text = output.lower()
        user = self.transport.user
        if match := re.search(rf"{worker_bundle.OLD_PYTHON} ([\w.+]+)", text):
            return self._old_python_error(match[1])
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
                f"{self._name_missing(text)} is not installed on this rig",
                advice="Install it there (apt install python3 sudo), or name another one with "
                "ansible_python_interpreter. fab assess and fab restore need no Python.",
            )
        if "permission denied" in text:
            return UnreachableError(
                f"'{user}' may not run Python ({self._interpreter}) on this rig",
                advice="Make it executable for all (chmod 755), or name another one with "
                "ansible_python_interpreter.",
            )
        return UnreachableError(
            "the worker did not start", advice=clean(output).strip() or "It gave no reason."
        )

    def _old_python_error(self, version: str) -> UnreachableError:
        oldest = ".".join(map(str, worker_bundle.OLDEST_PYTHON))
        system = ""
        with contextlib.suppress(DeeprigError):
            words = "sed -n 's/^PRETTY_NAME=//p' /etc/os-release"
            system = clean_line(Shell(self.transport).run(words).out.decode("utf-8", "replace"))
        runs = f" (it runs {system.strip().strip(chr(34))})" if system.strip() else ""
        return UnreachableError(
            f"the Python of this rig is {version}{runs}; deeprig needs {oldest} or newer",
            advice="Install Debian 12 or Ubuntu 24.04 on the rig. If it has a newer Python, too, "
            "name it with ansible_python_interpreter. fab assess and fab restore need no Python.",
        )

    def _name_missing(self, text: str) -> str:
        return "sudo" if "sudo: not found" in text else f"Python ({self._interpreter})"

    def _read_stderr(self) -> str:
        assert self._channel is not None
        output = b""
        with contextlib.suppress(TimeoutError):
            while len(output) < MOST_OF_STDERR and (chunk := self._channel.recv_stderr(65536)):
                output += chunk
        return output.decode("utf-8", "replace")

    def _send(self, data: bytes) -> None:
        assert self._channel is not None
        try:
            with self._sending:
                self._channel.sendall(data)
        except (OSError, EOFError) as error:
            raise self._lost_error(str(error) or "the connection is closed") from None

    def _read(self, count: int) -> bytes:
        assert self._channel is not None
        while len(self._buffer) < count:
            try:
                chunk = self._channel.recv(max(65536, count - len(self._buffer)))
            except TimeoutError:
                raise self._lost_error(f"no sign of life for {self._silence:g} s") from None
            except (socket.error, EOFError) as error:  # noqa: UP024
                raise self._lost_error(str(error)) from None
            if not chunk:
                break
            self._buffer += chunk
            self._received += len(chunk)
            if self._received > MOST_OF_A_SESSION:
                raise self._lost_error(f"it sent more than {MOST_OF_A_SESSION} bytes")
        data, self._buffer = self._buffer[:count], self._buffer[count:]
        return data

    def _receive(self) -> Frame:
        try:
            body = read_body(self._read, LIMITS.size)
        except BadFrame as error:
            raise self._lost_error(f"it sent something else than frames ({error})") from None
        if body is None:
            assert self._channel is not None
            output = clean(self._read_stderr()).strip()
            raise self._lost_error(output or "the connection was closed")
        try:
            frame = decode_frame(body, LIMITS)
        except BoundaryError as error:
            raise self._protocol_error(error) from None
        return frame

    def _drop(self) -> None:
        """Close the channel: nothing that comes over it is read again."""
        self._ended.set()
        if self._channel is not None:
            _shut(self._channel)
            self._channel = None

    def _protocol_error(self, error: BoundaryError) -> LostError:
        """Return the error of a rig that breaks the protocol."""
        self._drop()
        return LostError(
            error.message,
            advice="This is not an answer of deeprig's own worker. If the rig was in other hands, "
            "reinstall it.",
        )

    def _lost_error(self, why: str) -> LostError:
        self._drop()
        return LostError(
            f"lost the rig in the middle: {why}",
            advice="Run the same command again: what is done stays done.",
        )


def _shut(channel: Channel) -> None:
    """Close a channel, also of a connection that is gone already."""
    with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
        channel.close()


def _as_progress(unit: tuple[int, ...], waiting: WaitingRun) -> Progress:
    """Return what the display shows while another run is waited for."""
    title = f"waiting for the run {waiting['holder']} to end: its operator is gone"
    return Progress(unit, waiting["seconds"], "", title)

"""The sessions of one host's run: one worker for each user that tasks become."""

from __future__ import annotations

from collections.abc import Callable

from provision.connection import RigConnection
from provision.errors import DeeprigError
from provision.session import Session

# Makes a connection; the argument is a time limit in seconds to connect, or None for the usual.
Connect = Callable[[float | None], RigConnection]


class Sessions:
    """Opens sessions as they are needed, over one connection.

    `connect` makes a new RigConnection; `sudo_password` and `interpreter` are the inventory's.
    """

    def __init__(
        self,
        connect: Connect,
        sudo_password: str | None = None,
        interpreter: str = "python3",
        exclusive: bool = True,
    ) -> None:
        self._connect = connect
        self._sudo_password = sudo_password
        self._interpreter = interpreter
        self._exclusive = exclusive
        self._connection: RigConnection | None = None
        self._open: dict[str | None, Session] = {}
        self._closed_frames = 0

    @property
    def frames(self) -> int:
        """Frames sent and received so far."""
        now = sum(s.frames_sent + s.frames_received for s in self._open.values())
        return self._closed_frames + now

    def get(self, become_user: str | None) -> Session:
        """The session of a user; None is the one who logged in."""
        if self._connection is None:
            self._connection = self._connect(None)
        if become_user == self._connection.user:
            become_user = None  # one worker is enough, and two would wait for one lock
        if become_user not in self._open:
            self._open[become_user] = Session(
                self._connection,
                become_user,
                self._sudo_password,
                self._interpreter,
                self._exclusive,
            )
        return self._open[become_user]

    def boot_id(self, timeout: float) -> str:
        """The rig's present boot_id, over a connection of its own. Raises UnreachableError."""
        connection = self._connect(timeout)
        try:
            with connection:
                read = "cat /proc/sys/kernel/random/boot_id"
                found: str = connection.run(read, hide=True, timeout=timeout).stdout.strip()
                return found
        except DeeprigError:
            raise
        except Exception as error:  # sshd on its way up or down answers in many ways
            raise DeeprigError(f"the rig is not ready: {error}") from None

    def abort(self) -> None:
        """From another thread: whatever waits for the rig ends soon. It may be said again."""
        for session in list(self._open.values()):
            session.close()
        if self._connection is not None:
            self._connection.close()

    def close(self) -> None:
        """End all workers and the connection."""
        self._closed_frames = self.frames
        sessions, self._open = self._open, {}
        for session in sessions.values():
            session.close()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

"""The sessions of one host's run: one worker for each user that tasks become."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future

from fabric import Config

from provision.boundary.patterns import BOOT_ID, check_form
from provision.errors import DeeprigError, UnreachableError
from provision.inventory.hosts import Host
from provision.ssh.connection import RigConnection
from provision.ssh.host_keys import Ask, prompt_operator
from provision.ssh.shell import Shell
from provision.ssh.transport import Transport
from provision.ssh.worker_session import WorkerSession
from provision.templating.host_variables import render_variable

MOST_OF_BOOT = 4096  # bytes of a boot_id and a word
# Makes a connection, not open yet; asks about an unknown host key by what it is given.
Connect = Callable[[Ask], Transport]


class AskLaterError(UnreachableError):
    """There is a question to ask, and this is not the time."""


def _not_now(question: str) -> str:
    raise AskLaterError(question)


class Sessions:
    """Opens sessions as they are needed, over one connection.

    `connect` makes a new transport; `sudo_password` and `interpreter` are the inventory's.
    `secrets` holds the passwords of this host: whoever prints what the rig sends masks them.
    `ask` prompts the operator about host keys; a caller with a live display replaces it.
    `on_connect` is called with each connection that work goes over.
    """

    def __init__(
        self,
        connect: Connect,
        sudo_password: str | None = None,
        interpreter: str = "python3",
        exclusive: bool = True,
        login_password: str | None = None,
    ) -> None:
        self.secrets = [secret for secret in (sudo_password, login_password) if secret is not None]
        self._connect = connect
        self._sudo_password = sudo_password
        self._interpreter = interpreter
        self._exclusive = exclusive
        self.ask: Ask = prompt_operator
        self.on_connect: Callable[[Transport], None] | None = None
        self._early: Future[Transport] | None = None
        self._connection: Transport | None = None
        self._open: dict[str | None, WorkerSession] = {}
        self._closed_frames = 0

    @property
    def frames(self) -> int:
        """Frames sent and received so far."""
        now = sum(session.frames_sent + session.frames_received for session in self._open.values())
        return self._closed_frames + now

    def connect_early(self) -> None:
        """Begin to connect in the background; `get` waits for it or raises its error."""
        early: Future[Transport] = Future()

        def connect() -> None:
            try:
                connection = self._connect(_not_now)
                connection.open()
            except Exception as error:  # raised by `get`, in the thread that needs the connection
                early.set_exception(error)
            else:
                early.set_result(connection)

        threading.Thread(target=connect, daemon=True).start()
        self._early = early

    def _get_connection(self) -> Transport:
        early, self._early = self._early, None
        if early is not None:
            try:
                return early.result()
            except AskLaterError:
                pass
        return self._connect(self.ask)

    def get(self, become_user: str | None) -> WorkerSession:
        """Return the session of a user; None is the one who logged in."""
        if self._connection is None:
            self._connection = self._get_connection()
            if self.on_connect is not None:
                self.on_connect(self._connection)
        if become_user == self._connection.user:
            become_user = None  # one worker is enough, and two would wait for one lock
        if become_user not in self._open:
            self._open[become_user] = WorkerSession(
                self._connection,
                become_user,
                self._sudo_password,
                self._interpreter,
                self._exclusive,
            )
        return self._open[become_user]

    def boot(self, timeout: float) -> tuple[str, str]:
        """Return the rig's present boot_id, and systemd's word for how far the boot is.

        Uses a separate connection. Raises DeeprigError while the rig is not ready.
        """
        connection = self._connect(self.ask)
        connection.connect_timeout = timeout
        try:
            read = "cat /proc/sys/kernel/random/boot_id; systemctl is-system-running || :"
            shell = Shell(connection)
            done = shell.run(read, silence=timeout, longest=timeout, most=MOST_OF_BOOT)
            boot_id, state = done.out.decode("utf-8", "replace").split()
            return check_form("boot_id", BOOT_ID, boot_id), state
        except DeeprigError:
            raise
        except Exception as error:  # sshd on its way up or down answers in many ways
            raise DeeprigError(f"the rig is not ready: {error}") from None
        finally:
            connection.close()

    def abort(self) -> None:
        """End whatever waits for the rig, from another thread. May be called repeatedly."""
        for session in list(self._open.values()):
            session.abort()
        if self._connection is not None:
            self._connection.close()

    def hand_over(self) -> Transport:
        """End all workers, and give away the connection, which stays open: the caller closes it."""
        self._end_workers()
        connection, self._connection = self._connection, None
        return self._get_connection() if connection is None else connection

    def _end_workers(self) -> None:
        self._closed_frames = self.frames
        sessions, self._open = self._open, {}
        for session in sessions.values():
            session.close()

    def close(self) -> None:
        """End all workers and the connection."""
        self._end_workers()
        if self._early is not None:
            self._early.add_done_callback(_close)
            self._early = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _close(early: Future[Transport]) -> None:
    """Close a connection that was not used."""
    if early.exception() is None:
        early.result().close()


def sessions_of(
    host: Host, config: Config, accept_new: bool = False, exclusive: bool = True
) -> Sessions:
    """Return sessions by the host's connection variables. `exclusive`: take the rig's lock."""
    login = render_variable(host, "ansible_password", "ansible_ssh_pass")
    return Sessions(
        lambda ask: RigConnection(host, config, accept_new, ask),
        sudo_password(host, config),
        str(render_variable(host, "ansible_python_interpreter") or "python3"),
        exclusive,
        None if login is None else str(login),
    )


def sudo_password(host: Host, config: Config) -> str | None:
    """Return the password for sudo on this host; None where it is unknown."""
    configured = render_variable(
        host, "ansible_become_password", "ansible_become_pass", "ansible_password"
    )
    password = config.sudo.password if configured is None else configured
    return None if password is None else str(password)

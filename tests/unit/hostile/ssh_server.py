"""An SSH server of this process: a rig, another machine, or a jump host."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import paramiko
from paramiko.common import AUTH_SUCCESSFUL, OPEN_FAILED_CONNECT_FAILED, OPEN_SUCCEEDED

from provision.ssh.shell import MARK


@dataclass
class Seen:
    """What a client sent to the server.

    refusals: how many more channels the server refuses, as sshd does at its MaxSessions.
    """

    passwords: list[str] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    agents: int = 0
    logins: int = 0
    refusals: int = 0


class _Server(paramiko.ServerInterface):
    def __init__(self, seen: Seen, answer: bytes, runs_commands: bool) -> None:
        self._seen, self._answer, self._runs_commands = seen, answer, runs_commands
        self.targets: dict[int, tuple[str, int]] = {}

    def get_allowed_auths(self, username: str) -> str:
        return "password"

    def check_auth_password(self, username: str, password: str) -> int:
        self._seen.passwords.append(password)
        self._seen.logins += 1
        return AUTH_SUCCESSFUL

    def check_channel_request(self, kind: str, chanid: int) -> int:
        if self._seen.refusals == 0:
            return OPEN_SUCCEEDED
        self._seen.refusals -= 1
        return OPEN_FAILED_CONNECT_FAILED

    def check_channel_forward_agent_request(self, channel: paramiko.Channel) -> bool:
        self._seen.agents += 1
        return True

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        self._seen.commands.append(command.decode())
        begins = self._runs_commands and MARK.strip() in command
        begin = MARK if begins else b""
        threading.Thread(target=self._run, args=(channel, begin), daemon=True).start()
        return True

    def check_channel_direct_tcpip_request(
        self, chanid: int, origin: tuple[str, int], destination: tuple[str, int]
    ) -> int:
        self.targets[chanid] = destination
        return OPEN_SUCCEEDED

    def _run(self, channel: paramiko.Channel, begin: bytes) -> None:
        with contextlib.suppress(OSError, EOFError):
            channel.sendall(begin + self._answer)
            channel.send_exit_status(0)
            channel.shutdown_write()  # the client closes it


@dataclass
class SshServer:
    """A server at 127.0.0.1:port with this host key."""

    port: int
    key: paramiko.PKey
    seen: Seen

    @property
    def line(self) -> str:
        """Its host key in the format of the inventory."""
        return f"{self.key.get_name()} {self.key.get_base64()}"

    def known_as(self, host: str = "127.0.0.1") -> str:
        """Return its line for known_hosts."""
        return f"[{host}]:{self.port} {self.line}\n"


@contextlib.contextmanager
def ssh_server(
    answer: bytes = b"",
    key: paramiko.PKey | None = None,
    banner: str = "",
    runs_commands: bool = True,
) -> Iterator[SshServer]:
    """Serve until the end of the block; every command answers `answer`.

    banner: how the server identifies itself; empty is Paramiko's own text. runs_commands: whether
    the answer begins as that of a shell.
    """
    host_key = key or paramiko.ECDSAKey.generate()
    seen = Seen()
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.1)

        def serve() -> None:
            while not ended.is_set():
                try:
                    peer, _ = listening.accept()
                except OSError:
                    continue
                transport = paramiko.Transport(peer)
                transport.add_server_key(host_key)
                transport.local_version = banner or transport.local_version
                threading.Thread(
                    target=_session,
                    args=(transport, _Server(seen, answer, runs_commands)),
                    daemon=True,
                ).start()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield SshServer(listening.getsockname()[1], host_key, seen)
        finally:
            ended.set()
            thread.join()


def _session(transport: paramiko.Transport, server: _Server) -> None:
    channels = []  # Paramiko closes a channel to which nothing refers
    with contextlib.suppress(paramiko.SSHException, EOFError, OSError):
        transport.start_server(server=server)
        while transport.is_active():
            channel = transport.accept(0.2)
            channels.append(channel)
            if channel is not None and channel.get_id() in server.targets:
                target = server.targets[channel.get_id()]
                threading.Thread(target=_forward, args=(channel, target), daemon=True).start()


def _forward(channel: paramiko.Channel, target: tuple[str, int]) -> None:
    # The client may end the connection first, and then the channel can't be closed.
    with contextlib.suppress(EOFError), socket.create_connection(target) as remote, channel:
        while True:
            ready = select.select([channel.fileno(), remote.fileno()], [], [], 5)[0]
            pairs = ((channel, remote), (remote, channel))
            for reader, writer in pairs:
                if reader.fileno() in ready:
                    data = reader.recv(65536)
                    if not data:
                        return
                    writer.sendall(data)

"""What sessions need of a connection.

`RigConnection` is the transport over SSH. A test may run the same sessions over a child process.
"""

from __future__ import annotations

from typing import Protocol


class Channel(Protocol):
    """One command on the rig: its input, its two outputs and its end, as Paramiko's Channel."""

    def settimeout(self, timeout: float) -> None:
        """Set the seconds after which a send or a receive raises TimeoutError."""

    def exec_command(self, command: str) -> None:
        """Start the command."""

    def sendall(self, data: bytes) -> None:
        """Write to its standard input."""

    def shutdown_write(self) -> None:
        """Close its standard input."""

    def recv(self, nbytes: int) -> bytes:
        """Read from its standard output; empty at its end."""

    def recv_stderr(self, nbytes: int) -> bytes:
        """Read from its standard error; empty at its end."""

    def recv_exit_status(self) -> int:
        """Wait for its end and return its status; -1 where the connection ended first."""

    def close(self) -> None:
        """End the channel."""


class Transport(Protocol):
    """A connection to one host that runs commands. host: its address; user: the login user."""

    host: str
    user: str
    connect_timeout: float | None  # seconds

    @property
    def is_connected(self) -> bool:
        """Whether the connection is open."""

    def open(self) -> object:
        """Connect, where that is not done yet. Raises UnreachableError."""

    def open_channel(self, silence: float) -> Channel:
        """Connect where necessary and open a channel. Raises UnreachableError.

        silence: seconds without a byte after which the channel raises TimeoutError.
        """

    def close(self) -> None:
        """End the connection, from any thread."""

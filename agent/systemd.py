"""Tell systemd how the agent does: sd_notify(3), in its one datagram."""

from __future__ import annotations

import os
import socket


def notify(state: str) -> None:
    """Send READY=1, WATCHDOG=1, STATUS=… to whoever started us; nothing where nobody asked."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):  # an abstract one
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.sendto(state.encode(), address)
    except OSError:  # systemd will miss it, and act as its unit says
        pass

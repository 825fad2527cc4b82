"""Reports the agent's state to systemd and to the journal."""

from __future__ import annotations

import logging
import os
import socket

from agent.checks.verdicts import find_worst_status
from agent.sampling.sampler import PublishedSample

PROBLEMS_MOST = 5  # in one line of the journal

log = logging.getLogger("deeprig-agent")


def notify_systemd(state: str) -> None:
    """Send READY=1, WATCHDOG=1 or STATUS=… to systemd, if it started the agent (sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):  # an abstract socket
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.sendto(state.encode(), address)
    except OSError:  # systemd misses the message, and follows the unit's settings
        pass


class StateLog:
    """Logs changes of the rig's state once, to the journal and to `systemctl status`."""

    def __init__(self) -> None:
        self._last = ("", "", 0)

    def update(self, published: PublishedSample) -> None:
        """Log the driver's state and the worst verdict of a sample, if they have changed."""
        sample = published.sample
        status = find_worst_status(sample.verdicts)
        answering = sum(gpu.up for gpu in sample.gpus)
        state = (sample.driver.state, status, answering)
        if state == self._last:
            return
        self._last = state
        problems = [
            f"; {verdict.title} ({verdict.subject}): {verdict.reading}"
            for verdict in sample.verdicts
            if verdict.status in ("warning", "critical")
        ]
        log.info(
            "driver %s, %d of %d GPUs answer, status %s%s",
            sample.driver.state,
            answering,
            len(sample.gpus),
            status,
            "".join(problems[:PROBLEMS_MOST]),
        )
        notify_systemd(f"STATUS={answering} of {len(sample.gpus)} GPUs answer; verdict: {status}")

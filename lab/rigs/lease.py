"""Lease a network of one's own, so that several test processes can run rigs at the same time.

Network 0 is the operator's (`fab lab.up`). Each test process leases another one: its rigs have
addresses 127.NETWORK.77.N, and their state is in a folder beside the operator's.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from lab.errors import LabError
from lab.rigs import machine


@contextmanager
def lease_network() -> Iterator[int]:
    """Yield the number of a network that no other process uses; use it until the block ends.

    A process that is killed loses its lease, and the next one on that network removes its rigs.

    Raises:
        LabError: all networks are in use.
    """
    folder = machine.state_folder().with_name(f"{machine.state_folder().name}-tests")
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(1, machine.MAX_NETWORK + 1):
        with (folder / f"{number}.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            settings = {
                "DEEPRIG_LAB_NETWORK": str(number),
                "DEEPRIG_LAB_STATE": str(folder / str(number)),
            }
            before = {name: os.environ.get(name) for name in settings}
            os.environ.update(settings)
            try:
                _discard_rigs()
                yield number
            finally:
                _discard_rigs()
                for name, value in before.items():
                    if value is None:
                        del os.environ[name]
                    else:
                        os.environ[name] = value
            return
    raise LabError(f"All {machine.MAX_NETWORK} networks of the lab are in use.", f"See {folder}.")


def _discard_rigs() -> None:
    for rig in machine.list_rigs():
        rig.discard()
    machine.clear()

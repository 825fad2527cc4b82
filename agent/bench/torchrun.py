"""torchrun: its command line and environment, and what it says when ranks die. Pure."""

from __future__ import annotations

import math
import re
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

LOOPBACK = "lo"
JOIN_SECONDS = 120  # for the other rigs to come


@dataclass(frozen=True)
class RigGroup:
    """Several rigs in one run: how many, which one this is, and where they meet (HOST:PORT).

    address: this rig's, as the others reach it. interface: the network interface to use; empty
    lets NCCL and gloo choose.
    """

    count: int = 1
    rank: int = 0
    rendezvous: str = ""
    address: str = ""
    interface: str = ""


@dataclass(frozen=True)
class Death:
    """How a rank ended, by torchrun: a negative status is a signal's number."""

    rank: int
    status: int


def command(local_ranks: int, nodes: RigGroup, run: str, job: Path) -> list[str]:
    """Start `local_ranks` ranks here. `run` names the job among the rigs."""
    words = [
        sys.executable, "-m", "torch.distributed.run",
        f"--nnodes={nodes.count}", f"--nproc-per-node={local_ranks}", "--max-restarts=0",
    ]  # fmt: skip
    if nodes.count == 1:
        words += ["--standalone", "--local-addr=127.0.0.1"]  # on a free port
    else:
        host = "true" if nodes.rank == 0 else "false"
        words += [
            "--rdzv-backend=c10d", f"--rdzv-endpoint={nodes.rendezvous}", f"--rdzv-id={run}",
            f"--rdzv-conf=is_host={host},join_timeout={JOIN_SECONDS}",
            f"--local-addr={nodes.address}",
        ]  # fmt: skip
    return [*words, "-m", "agent.bench.rank", str(job)]


def environment(
    own: Mapping[str, str], backend: str, nodes: RigGroup, more: Mapping[str, str]
) -> dict[str, str]:
    """The ranks' environment: `own` with what is needed, and `more` before all."""
    # On one rig nothing leaves it, whatever its network does.
    interface = nodes.interface or (LOOPBACK if nodes.count == 1 else "")
    made = dict(own)
    if interface:
        made.setdefault("GLOO_SOCKET_IFNAME", interface)
        made.setdefault("NCCL_SOCKET_IFNAME", interface)
    if backend == "gloo":
        made.setdefault("OMP_NUM_THREADS", "1")  # ranks share the processor
    else:
        made.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # a rank's GPU is the one of its slot
    made.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    return made | dict(more)


def deaths(log: str, raised: Mapping[int, float]) -> list[Death]:
    """The failures in torchrun's closing summary, the one that caused the others first.

    torchrun looks ten times a second, and takes the first in its list for the cause when it finds
    several. A signal comes from outside; of those that end by an exception all but the first may
    only have lost a peer (`raised`: when, by rank); and SIGTERM is what torchrun sends to those
    that still run.
    """
    found = [
        Death(int(rank), int(status))
        for rank, status in re.findall(
            r"^\s*rank\s*: (\d+) \(local_rank: \d+\)\n\s*exitcode\s*: (-?\d+)", log, re.MULTILINE
        )
    ]
    root = log.find("Root Cause")
    first = re.search(r"rank\s*: (\d+)", log[root:]) if root >= 0 else None
    cause = int(first[1]) if first else -1

    def order(death: Death) -> tuple[bool, bool, float, bool]:
        told_to = death.status == -signal.SIGTERM
        at = raised.get(death.rank, math.inf)
        return told_to, death.status >= 0, at, death.rank != cause

    return sorted(found, key=order)


def ended(status: int) -> str:
    """A status in words.

    >>> ended(-9), ended(1)
    ('was killed by SIGKILL', 'ended with status 1')
    """
    if status < 0:
        try:
            return f"was killed by {signal.Signals(-status).name}"
        except ValueError:
            return f"was killed by signal {-status}"
    return f"ended with status {status}"

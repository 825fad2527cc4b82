"""torchrun: its command line, its environment, and its report of ranks that died. Pure."""

from __future__ import annotations

import math
import re
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

LOOPBACK = "lo"
JOIN_SECONDS = 120  # for the other rigs to join


@dataclass(frozen=True)
class RigGroup:
    """The rigs of a run: their number, this rig's number, and the rendezvous (HOST:PORT).

    address: of this rig, for the others. interface: the network interface; if it is empty, NCCL and
    gloo choose.
    """

    count: int = 1
    rank: int = 0
    rendezvous: str = ""
    address: str = ""
    interface: str = ""


@dataclass(frozen=True)
class Death:
    """How torchrun saw a rank end. A negative status is a signal's number."""

    rank: int
    status: int


def build_command(local_ranks: int, nodes: RigGroup, run: str, job: Path) -> list[str]:
    """Return the command that starts `local_ranks` ranks. run: the job's name on all rigs."""
    words = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        f"--nnodes={nodes.count}",
        f"--nproc-per-node={local_ranks}",
        "--max-restarts=0",
    ]
    if nodes.count == 1:
        words += ["--standalone", "--local-addr=127.0.0.1"]  # on a free port
    else:
        host = "true" if nodes.rank == 0 else "false"
        words += [
            "--rdzv-backend=c10d",
            f"--rdzv-endpoint={nodes.rendezvous}",
            f"--rdzv-id={run}",
            f"--rdzv-conf=is_host={host},join_timeout={JOIN_SECONDS}",
            f"--local-addr={nodes.address}",
        ]
    return [*words, "-m", "agent.bench.rank", str(job)]


def build_environment(
    current: Mapping[str, str], backend: str, nodes: RigGroup, more: Mapping[str, str]
) -> dict[str, str]:
    """Return the ranks' environment: `current` with defaults added; `more` overrides both."""
    # A run on one rig does not depend on its network.
    interface = nodes.interface or (LOOPBACK if nodes.count == 1 else "")
    variables = dict(current)
    if interface:
        variables.setdefault("GLOO_SOCKET_IFNAME", interface)
        variables.setdefault("NCCL_SOCKET_IFNAME", interface)
    if backend == "gloo":
        variables.setdefault("OMP_NUM_THREADS", "1")  # the ranks share the processor
    else:
        variables.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # ordered by slot
    variables.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    return variables | dict(more)


def find_deaths(log: str, raised: Mapping[int, float]) -> list[Death]:
    """Return the failures of torchrun's closing summary, the cause of the others first.

    torchrun checks ten times a second and reports the first of several failures as the cause. Here
    a signal is the cause before an exception, because ranks raise exceptions when they lose a peer;
    the first exception is the cause before later ones (raised: when, by rank); SIGTERM comes last,
    because torchrun sends it to the remaining ranks.
    """
    deaths = [
        Death(int(rank), int(status))
        for rank, status in re.findall(
            r"^\s*rank\s*: (\d+) \(local_rank: \d+\)\n\s*exitcode\s*: (-?\d+)", log, re.MULTILINE
        )
    ]
    root = log.find("Root Cause")
    first = re.search(r"rank\s*: (\d+)", log[root:]) if root >= 0 else None
    cause = int(first[1]) if first else -1

    def order(death: Death) -> tuple[bool, bool, float, bool]:
        is_ended_by_torchrun = death.status == -signal.SIGTERM
        at = raised.get(death.rank, math.inf)
        return is_ended_by_torchrun, death.status >= 0, at, death.rank != cause

    return sorted(deaths, key=order)


def describe_status(status: int) -> str:
    """Return an exit status in words.

    >>> describe_status(-9), describe_status(1)
    ('was killed by SIGKILL', 'ended with status 1')
    """
    if status < 0:
        try:
            return f"was killed by {signal.Signals(-status).name}"
        except ValueError:
            return f"was killed by signal {-status}"
    return f"ended with status {status}"

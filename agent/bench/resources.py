"""What a run stands on: backend, ranks, other rigs; asked for, or found."""

from __future__ import annotations

import errno
import fcntl
import importlib.util
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from typing import Any

from agent.bench.errors import UnusableError
from agent.bench.plan import Resources
from agent.bench.processes import end_with_parent
from agent.bench.torchrun import RigGroup
from agent.readings.pcie import read_gpus

PROBE_SECONDS = 120  # PyTorch from a slow disk, and CUDA's start with many GPUs
OWN_NAME = "127.0.1."  # what Debian and Ubuntu write down in /etc/hosts for a rig's own name
SIOCGIFADDR = 0x8915  # linux/sockios.h
LEAST_RANKS = 2  # of gloo, where no GPU limits them


@dataclass(frozen=True)
class ResourceRequest:
    """What the command line says of it."""

    backend: str = "auto"
    ranks: int | None = None
    nodes: int = 1
    node_rank: int = 0
    rendezvous: str = ""
    interface: str = ""


def find(request: ResourceRequest) -> tuple[Resources, RigGroup]:
    """The ground, and the other rigs. Raises UnusableError where it is not as it was asked for."""
    nodes = meeting(request)
    if request.ranks is not None and request.ranks < 1:
        raise UnusableError(f"--ranks {request.ranks}", "It is 1 or more.")
    on_bus = len(read_gpus())
    usable: dict[str, Any] = {"gpus": 0, "nccl": False, "said": "no NVIDIA GPU on the PCIe bus"}
    if request.backend == "nccl" or (request.backend == "auto" and on_bus):
        usable = probe()
    backend = request.backend
    if backend == "auto":
        backend = "nccl" if usable["gpus"] and usable["nccl"] else "gloo"
    if backend == "nccl" and not (usable["gpus"] and usable["nccl"]):
        raise UnusableError(
            f"PyTorch can't use NCCL here: {usable['said'] or 'it sees no GPU'}",
            "Look at the driver (nvidia-smi), or measure with --backend gloo.",
        )
    local = request.ranks or (usable["gpus"] if backend == "nccl" else max(on_bus, LEAST_RANKS))
    if backend == "nccl" and local > usable["gpus"]:
        raise UnusableError(f"--ranks {local}, and there are {usable['gpus']} GPUs", "One a GPU.")
    numpy = importlib.util.find_spec("numpy") is not None
    return Resources(backend, local * nodes.count, nodes.count, numpy), nodes


def probe() -> dict[str, Any]:
    """What agent.bench.torch_probe says. Raises UnusableError when PyTorch can't be loaded."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "agent.bench.torch_probe"],
            env=os.environ | {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"},
            stdin=subprocess.DEVNULL, stdout=out, stderr=errors, preexec_fn=end_with_parent,
        )  # fmt: skip
        try:
            process.wait(PROBE_SECONDS)
            out.seek(0)
            return dict(json.loads(out.read()))
        except subprocess.TimeoutExpired:
            process.kill()  # and not waited for: a GPU that is lost can hold it in the kernel
            reason = f"it did not answer within {PROBE_SECONDS} s"
        except ValueError:
            errors.seek(0)
            said = errors.read().decode(errors="replace").strip().splitlines()
            reason = (said or ["it printed nothing"])[-1]
    raise UnusableError(f"PyTorch can't be loaded: {reason}", "playbooks/pytorch.yml installs it.")


def meeting(request: ResourceRequest) -> RigGroup:
    """Where several rigs meet. Raises UnusableError: no address, or its port is taken."""
    if request.nodes == 1:
        return RigGroup(interface=request.interface)
    host, colon, port = request.rendezvous.rpartition(":")
    if not (host and colon and port.isdigit()):
        raise UnusableError(
            f"--nodes {request.nodes} without a place to meet",
            "--rendezvous HOST:PORT, the same on all rigs, names the one with --node-rank 0.",
        )
    if not 0 <= request.node_rank < request.nodes:
        raise UnusableError(
            f"--node-rank {request.node_rank} of {request.nodes} rigs", "They count from 0."
        )
    try:
        address = own_address(host, int(port))
        if address.startswith(OWN_NAME):
            raise UnusableError(
                f"{host} is {address} here, which no other rig reaches",
                "Name the rig with --node-rank 0 by its address (ansible_host in the inventory).",
            )
        if request.node_rank == 0:
            must_be_free(host, int(port))
    except OSError as error:
        raise UnusableError(
            f"can't meet at {request.rendezvous}: {error.strerror}", _advice(error.errno)
        ) from None
    interface = request.interface or interface_of(address)
    return RigGroup(request.nodes, request.node_rank, request.rendezvous, address, interface)


def own_address(host: str, port: int) -> str:
    """The address from which this rig reaches another. Sends nothing. Raises OSError."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind, protocol) as toward:
        toward.connect(address)
        return str(toward.getsockname()[0])


def interface_of(address: str) -> str:
    """The network interface that has this IPv4 address; empty where none is found.

    Left to itself gloo takes the address of the rig's own name (OWN_NAME).
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        for _, name in socket.if_nameindex():
            try:
                found = fcntl.ioctl(asked, SIOCGIFADDR, struct.pack("256s", name.encode()))
            except OSError:  # it has none
                continue
            if socket.inet_ntoa(found[20:24]) == address:
                return name
    return ""


def must_be_free(host: str, port: int) -> None:
    """Raises OSError when nobody can listen there."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen()


def _advice(number: int | None) -> str:
    if number == errno.EADDRINUSE:
        return "Another program has that port: choose another one, on all rigs."
    if number == errno.EADDRNOTAVAIL:
        return "HOST is an address of the rig with --node-rank 0."
    return "HOST is a name or an address that all rigs reach."

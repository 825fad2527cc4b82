"""Finds the backend, ranks and rigs of a run, as requested or detected."""

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
from typing import TypedDict

from agent.bench.errors import UnusableError
from agent.bench.plan import Resources
from agent.bench.processes import end_with_parent
from agent.bench.torchrun import RigGroup
from agent.readings.pcie import read_gpus

PROBE_SECONDS = 120  # for loading PyTorch from a slow disk, and CUDA with many GPUs
OWN_NAME = "127.0.1."  # Debian and Ubuntu map a rig's name to it in /etc/hosts
SIOCGIFADDR = 0x8915  # linux/sockios.h
LEAST_RANKS = 2  # with gloo, where GPUs do not limit them


class Probe(TypedDict):
    """The output of torch_probe.py. warning: why CUDA is not available."""

    gpus: int
    nccl: bool
    warning: str


@dataclass(frozen=True)
class ResourceRequest:
    """The flags about resources."""

    backend: str = "auto"
    ranks: int | None = None
    nodes: int = 1
    node_rank: int = 0
    rendezvous: str = ""
    interface: str = ""


def find_resources(request: ResourceRequest) -> tuple[Resources, RigGroup]:
    """Return the resources, and the other rigs. Raises UnusableError if they are not available."""
    nodes = find_rigs(request)
    if request.ranks is not None and request.ranks < 1:
        raise UnusableError(f"--ranks {request.ranks}: expected 1 or more")
    on_bus = len(read_gpus())
    usable: Probe = {"gpus": 0, "nccl": False, "warning": "no NVIDIA GPU on the PCIe bus"}
    if request.backend == "nccl" or (request.backend == "auto" and on_bus):
        usable = probe_torch()
    backend = request.backend
    if backend == "auto":
        backend = "nccl" if usable["gpus"] and usable["nccl"] else "gloo"
    if backend == "nccl" and not (usable["gpus"] and usable["nccl"]):
        raise UnusableError(
            f"PyTorch can't use NCCL here: {usable['warning'] or 'it sees no GPU'}",
            "Check the driver with nvidia-smi, or use --backend gloo.",
        )
    local = request.ranks or (usable["gpus"] if backend == "nccl" else max(on_bus, LEAST_RANKS))
    if backend == "nccl" and local > usable["gpus"]:
        raise UnusableError(
            f"--ranks {local}: there are only {usable['gpus']} GPUs", "Use at most one rank a GPU."
        )
    numpy = importlib.util.find_spec("numpy") is not None
    return Resources(backend, local * nodes.count, nodes.count, numpy), nodes


def probe_torch() -> Probe:
    """Return the output of torch_probe.py. Raises UnusableError if PyTorch cannot be loaded."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "agent.bench.torch_probe"],
            env=os.environ | {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=errors,
            preexec_fn=end_with_parent,
        )
        try:
            process.wait(PROBE_SECONDS)
            out.seek(0)
            return parse_probe(out.read())
        except subprocess.TimeoutExpired:
            process.kill()  # do not wait: a lost GPU can block it in the kernel
            reason = f"it did not answer within {PROBE_SECONDS} s"
        except ValueError:
            errors.seek(0)
            lines = errors.read().decode(errors="replace").strip().splitlines()
            reason = (lines or ["it printed nothing"])[-1]
    raise UnusableError(f"PyTorch can't be loaded: {reason}", "playbooks/pytorch.yml installs it.")


def parse_probe(output: bytes) -> Probe:
    """Parse the output of torch_probe.py. Raises ValueError."""
    probe: Probe = json.loads(output)
    return probe


def find_rigs(request: ResourceRequest) -> RigGroup:
    """Return the rigs and their rendezvous. Raises UnusableError if it cannot be used."""
    if request.nodes == 1:
        return RigGroup(interface=request.interface)
    host, colon, port = request.rendezvous.rpartition(":")
    if not (host and colon and port.isdigit()):
        raise UnusableError(
            f"--nodes {request.nodes} needs a rendezvous",
            "Set --rendezvous HOST:PORT on all rigs to an address of the rig with --node-rank 0.",
        )
    if not 0 <= request.node_rank < request.nodes:
        raise UnusableError(
            f"--node-rank {request.node_rank} of {request.nodes} rigs", "The first rig is 0."
        )
    try:
        address = find_local_address(host, int(port))
        if address.startswith(OWN_NAME):
            raise UnusableError(
                f"{host} is {address} here, which other rigs cannot reach",
                "Use the address of the rig with --node-rank 0 (ansible_host in the inventory).",
            )
        if request.node_rank == 0:
            check_port(host, int(port))
    except OSError as error:
        raise UnusableError(
            f"can't meet at {request.rendezvous}: {error.strerror}", _advice(error.errno)
        ) from None
    interface = request.interface or find_interface(address)
    return RigGroup(request.nodes, request.node_rank, request.rendezvous, address, interface)


def find_local_address(host: str, port: int) -> str:
    """Return the address from which this rig reaches a host. Sends nothing. Raises OSError."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind, protocol) as toward:
        toward.connect(address)
        return str(toward.getsockname()[0])


def find_interface(address: str) -> str:
    """Return the network interface with this IPv4 address; empty if there is none.

    By default gloo uses the address of the rig's name (OWN_NAME).
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
        for _, name in socket.if_nameindex():
            try:
                result = fcntl.ioctl(channel, SIOCGIFADDR, struct.pack("256s", name.encode()))
            except OSError:  # it has no address
                continue
            if socket.inet_ntoa(result[20:24]) == address:
                return name
    return ""


def check_port(host: str, port: int) -> None:
    """Check that the port is free. Raises OSError."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen()


def _advice(number: int | None) -> str:
    if number == errno.EADDRINUSE:
        return "Another program uses the port: choose another one, on all rigs."
    if number == errno.EADDRNOTAVAIL:
        return "HOST must be an address of the rig with --node-rank 0."
    return "HOST must be a name or an address that all rigs reach."

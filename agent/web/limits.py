"""What clients may use: connections, time, bytes and password checks."""

from __future__ import annotations

import resource
from dataclasses import dataclass, replace

from agent.errors import ConfigurationError

#: Descriptors that clients do not get: for readings, the process that asks NVML, and connections
#: that are accepted and not refused yet.
RESERVED_DESCRIPTORS = 128
CONNECTIONS_LEAST = 16  # fewer do not serve a browser and a Prometheus server


@dataclass(frozen=True)
class ClientLimits:
    """How much one client, one address and all clients together may use.

    connections: open at a time. connections_per_address: of them, from one address (slots.py).
    connections_from_loopback: of them, from this machine, where a reverse proxy or an SSH tunnel
    connects for many clients; fewer than all, so that a user of the rig cannot take every slot.
    accept_retry_seconds: after the kernel refused a connection for lack of descriptors or memory.

    handshake_seconds: from the connection to the end of the TLS handshake. request_seconds: for a
    whole request from its first byte, for the first byte of a connection, and for reading an
    answer. idle_seconds: between requests; longer than any sensible scrape interval.
    linger_seconds: for a refused client to read the refusal, before what it still sends resets the
    connection.

    request_bytes: of a request with its body. headers: of a request.

    checks_per_address: password checks that wait or run for one address. checks_waiting: for all
    addresses. failures: wrong passwords that an address may send at once. failure_seconds: until an
    address may send one more.
    """

    connections: int = 128
    connections_per_address: int = 32
    connections_from_loopback: int = 96
    accept_retry_seconds: float = 1.0

    handshake_seconds: float = 10.0
    request_seconds: float = 10.0
    idle_seconds: float = 300.0
    linger_seconds: float = 2.0

    request_bytes: int = 16 << 10
    headers: int = 100

    checks_per_address: int = 4
    checks_waiting: int = 16
    failures: int = 10
    failure_seconds: float = 6.0


def fit_limits(limits: ClientLimits, descriptors: int) -> ClientLimits:
    """Return limits whose connections leave the reserved descriptors free.

    descriptors: RLIMIT_NOFILE. Raises ConfigurationError if they are too few for any client.
    """
    free = descriptors - RESERVED_DESCRIPTORS
    if free < CONNECTIONS_LEAST:
        raise ConfigurationError(
            f"the limit of open files is {descriptors}: the agent needs "
            f"{RESERVED_DESCRIPTORS + CONNECTIONS_LEAST} or more (ulimit -n, LimitNOFILE=)"
        )
    return replace(
        limits,
        connections=min(limits.connections, free),
        connections_per_address=min(limits.connections_per_address, free // 2),
        connections_from_loopback=min(limits.connections_from_loopback, free * 3 // 4),
    )


def find_limits() -> ClientLimits:
    """Return the limits for this process' RLIMIT_NOFILE. Raises ConfigurationError."""
    descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if descriptors == resource.RLIM_INFINITY:
        return ClientLimits()
    return fit_limits(ClientLimits(), descriptors)

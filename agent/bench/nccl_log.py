"""What NCCL logs with NCCL_DEBUG=INFO: which way each pair of GPUs takes. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

#: "Channel 00/0 : 0[0] -> 1[1] via P2P/CUMEM", "… -> 1[1] [send] via NET/Socket/0" and, older,
#: "Channel 00 : 0[4000] -> 1[6000] via direct shared memory" (NCCL's src/transport/*.cc).
_CHANNEL = re.compile(
    r"Channel \d+(?:/\d+)? : (\d+)\[\w+\] -> (\d+)\[\w+\](?: \[(send|receive)\])? via (.+?)\s*$",
    re.MULTILINE,
)
_SHARED_MEMORY = "direct shared memory"


def parse_transports(log: str) -> dict[str, str]:
    """Transport by pair of ranks, "0->1": those of all channels, once each.

    >>> parse_transports("rig:1:2 [0] NCCL INFO Channel 00/0 : 0[0] -> 1[1] via SHM/direct/direct")
    {'0->1': 'SHM/direct/direct'}
    """
    ways_by_pair: dict[str, list[str]] = {}
    for source, target, _, way in _CHANNEL.findall(log):
        way = "SHM/direct" if way.startswith(_SHARED_MEMORY) else way
        way = re.sub(r"^(NET/[^/]+)/\d.*", r"\1", way)  # which of several cards does not matter
        ways = ways_by_pair.setdefault(f"{source}->{target}", [])
        if way not in ways:
            ways.append(way)
    return {pair: ", ".join(ways) for pair, ways in sorted(ways_by_pair.items())}


def uses_p2p(by_pair: Mapping[str, str]) -> bool:
    """Whether any pair of GPUs reads each other's memory."""
    return any("P2P/" in way for way in by_pair.values())

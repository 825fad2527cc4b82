"""NCCL's log lines about transports, as its versions write them (src/transport/*.cc)."""

from __future__ import annotations

import pytest

from agent.bench.job import advise_after_hang
from agent.bench.nccl_log import parse_transports, uses_p2p

PREFIX = "rig:4242:4250 [0] NCCL INFO "


@pytest.mark.parametrize(
    ("line", "pair", "way"),
    [
        ("Channel 00/0 : 0[0] -> 1[1] via P2P/direct pointer", "0->1", "P2P/direct pointer"),
        ("Channel 01/1 : 2[2] -> 0[0] via P2P/CUMEM/read", "2->0", "P2P/CUMEM/read"),
        ("Channel 00/0 : 0[0] -> 1[1] via P2P/IPC", "0->1", "P2P/IPC"),
        ("Channel 00 : 0[0] -> 1[1] via SHM/direct/direct", "0->1", "SHM/direct/direct"),
        ("Channel 00 : 0[4000] -> 1[6000] via direct shared memory", "0->1", "SHM/direct"),
        ("Channel 00/0 : 0[0] -> 1[1] [send] via NET/Socket/0", "0->1", "NET/Socket"),
        ("Channel 00/0 : 1[1] -> 0[0] [receive] via NET/Socket/1/Shared", "1->0", "NET/Socket"),
        ("Channel 03/0 : 10[2] -> 11[3] [send] via NET/IB/0(9)/GDRDMA(PCI)", "10->11", "NET/IB"),
    ],
)
def test_transport_is_parsed_from_a_channel_line(line: str, pair: str, way: str) -> None:
    assert parse_transports(f"{PREFIX}{line}\n") == {pair: way}


def test_transports_of_a_log_are_merged() -> None:
    log = "".join(
        f"{PREFIX}{line}\n"
        for line in (
            "NCCL version 2.29.7+cuda13.0",
            "Channel 00/02 :    0   1   2",
            "Trees [0] 1/-1/-1->0->-1 [1] 1/-1/-1->0->-1",
            "Channel 00/0 : 0[0] -> 1[1] via P2P/CUMEM",
            "Channel 01/0 : 0[0] -> 1[1] via P2P/CUMEM",
            "Channel 00 : 1[1] -> 2[2] via SHM/direct/direct",
            "Channel 01/0 : 1[1] -> 2[2] [send] via NET/Socket/0",
            "Connected all rings",
        )
    )
    by_pair = parse_transports(log)
    assert by_pair == {"0->1": "P2P/CUMEM", "1->2": "SHM/direct/direct, NET/Socket"}
    assert uses_p2p(by_pair)
    assert not uses_p2p({"0->1": "SHM/direct/direct"})
    assert parse_transports("") == {}


@pytest.mark.parametrize(
    ("backend", "log", "p2p"),
    [
        ("nccl", "", True),  # it hung before NCCL logged it
        ("nccl", f"{PREFIX}Channel 00/0 : 0[0] -> 1[1] via P2P/CUMEM", True),
        ("nccl", f"{PREFIX}Channel 00 : 0[0] -> 1[1] via SHM/direct/direct", False),
        ("gloo", "", False),
    ],
)
def test_hang_advice_names_p2p_only_if_it_may_have_been_used(
    backend: str, log: str, p2p: bool
) -> None:
    advice = advise_after_hang(backend, log)
    assert ("NCCL_P2P_DISABLE=1" in advice) is p2p
    assert ("risers" in advice) is (backend == "nccl" and not p2p)
    assert advice.endswith("as stack.")

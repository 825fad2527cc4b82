"""The entries of a run's document (docs/bench.md), as the parts write them. Pure."""

from __future__ import annotations

from typing import TypedDict


class CollectiveSize(TypedDict):
    """A size of a collective. count: elements, as nccl-tests shows them."""

    size_bytes: int
    count: int
    time_seconds: float
    times: list[float]
    algorithm_bandwidth_bytes_per_second: float
    bus_bandwidth_bytes_per_second: float
    wrong_values: int


class CollectiveEntry(TypedDict):
    """An entry of "collectives"."""

    collective: str
    dtype: str
    ranks: int
    sizes: list[CollectiveSize]


#: An entry of "pairs". from, to: ranks.
PairEntry = TypedDict(
    "PairEntry",
    {
        "from": int,
        "to": int,
        "size_bytes": int,
        "bandwidth_bytes_per_second": float,
        "latency_seconds": float,
        "wrong_values": int,
    },
)


class TransferEntry(TypedDict):
    """An entry of "transfers". direction: host_to_device or device_to_host."""

    gpu: str
    rank: int
    direction: str
    pinned: bool
    size_bytes: int
    time_seconds: float
    times: list[float]
    bandwidth_bytes_per_second: float
    wrong_values: int


#: An entry of "peer". from, to: addresses of GPUs. access: whether one writes to the other.
PeerEntry = TypedDict(
    "PeerEntry",
    {
        "from": str,
        "to": str,
        "access": bool,
        "time_seconds": float,
        "times": list[float],
        "bandwidth_bytes_per_second": float,
        "wrong_values": int,
    },
)


class GemmEntry(TypedDict):
    """An entry of "gemm". gpu: None without CUDA. size: of the square matrices."""

    rank: int
    gpu: str | None
    dtype: str
    size: int
    time_seconds: float
    times: list[float]
    flops_per_second: float
    wrong_values: int


class TrialEntry(TypedDict):
    """An entry of "hazards". transports: by pair of ranks. None: nothing was measured."""

    hazard: str
    environment: dict[str, str]
    transports: dict[str, str]
    bus_bandwidth_bytes_per_second: float | None
    wrong_values: int | None
    status: str
    advice: str


class ToolComparison(TypedDict):
    """What every entry of "tools" has. agrees: None if there is nothing to compare with."""

    tool: str
    version: str | None
    agrees: bool | None
    reason: str


class ToolTransfer(TypedDict):
    """A copy that nvbandwidth measured."""

    gpu: str
    direction: str
    bandwidth_bytes_per_second: float


class AllReduceResult(TypedDict):
    """What all_reduce_perf measured. wrong_values: None if it counted none."""

    version: str
    size_bytes: int
    time_seconds: float
    bus_bandwidth_bytes_per_second: float
    wrong_values: int | None


class ToolEntry(ToolComparison, total=False):
    """An entry of "tools", with what its program measured.

    transfers: of nvbandwidth. The rest is of all_reduce_perf, which may count no wrong values.
    """

    transfers: list[ToolTransfer]
    size_bytes: int
    time_seconds: float
    bus_bandwidth_bytes_per_second: float
    wrong_values: int | None


class StepCheck(TypedDict):
    """The comparison of a step with the unsplit model's. right: the error is tolerated."""

    what: str
    largest_error: float
    tolerance: float
    right: bool


class WorkloadEntry(TypedDict):
    """An entry of "workloads". steps: seconds of each. peak_memory_bytes: None without CUDA."""

    workload: str
    ranks: int
    shape: dict[str, int]
    dtype: str
    compute: str
    steps: list[float]
    step_seconds: float
    warm_up: int
    parameters: int
    tokens_per_second: float
    peak_memory_bytes: int | None
    check: StepCheck


class BenchEntries(TypedDict):
    """The lists of a run's document."""

    collectives: list[CollectiveEntry]
    pairs: list[PairEntry]
    transfers: list[TransferEntry]
    peer: list[PeerEntry]
    gemm: list[GemmEntry]
    hazards: list[TrialEntry]
    tools: list[ToolEntry]
    workloads: list[WorkloadEntry]


class Versions(TypedDict):
    """Versions, and the GPUs' addresses and names by rank (empty without CUDA)."""

    torch: str | None
    cuda: str | None
    nccl: str | None
    gpus: list[str]
    gpu_names: list[str]


class Share(TypedDict, total=False):
    """A part's share of the document: what it measured, and in rank 0's output the versions."""

    collectives: list[CollectiveEntry]
    pairs: list[PairEntry]
    transfers: list[TransferEntry]
    peer: list[PeerEntry]
    gemm: list[GemmEntry]
    hazards: list[TrialEntry]
    tools: list[ToolEntry]
    workloads: list[WorkloadEntry]
    torch: str | None
    cuda: str | None
    nccl: str | None
    gpus: list[str]
    gpu_names: list[str]


class RankState(TypedDict):
    """A rank of a problem. at: its last position. exit: None while it runs or if it is unknown."""

    state: str
    exit: int | None
    at: str
    kernel_wait: str
    stack: str
    log_tail: str


class Problem(TypedDict):
    """An entry of "problems". ranks: by number, if the launcher looked at them."""

    part: str
    kind: str
    message: str
    advice: str
    ranks: dict[str, RankState]


class PartEntry(TypedDict):
    """An entry of "parts". status: ok, skipped, failed, hang, died or yielded."""

    part: str
    status: str
    seconds: float
    reason: str


class BenchDocument(BenchEntries, Versions):
    """The document of a run. started_at, finished_at: Unix seconds."""

    format: str
    version: int
    started_at: float
    finished_at: float
    plan: str
    backend: str
    ranks: int
    hostname: str
    nodes: int
    parts: list[PartEntry]
    problems: list[Problem]


class CollectiveTimes(TypedDict):
    """A collective of a result file."""

    collective: str
    sizes: list[CollectiveSize]


class ResultFile(TypedDict):
    """What every result file for the agent has (docs/nccl-results.md)."""

    format: str
    version: int
    backend: str
    ranks: int
    finished_at: float
    collectives: list[CollectiveTimes]


class CollectiveResultFile(ResultFile, total=False):
    """A result file for the agent. gpus: addresses, of a run on one rig."""

    gpus: list[str]
    nccl_version: str

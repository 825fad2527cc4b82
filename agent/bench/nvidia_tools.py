"""tools: runs NVIDIA's benchmarks, if they are installed, and compares their results with ours.

The programs are all_reduce_perf (nccl-tests 2.17 or newer, because of -J) and nvbandwidth.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.bench import document as documents
from agent.bench import text_tables
from agent.bench.entries import AllReduceResult, ToolEntry, ToolTransfer
from agent.bench.errors import UnusableError
from agent.bench.job import Ending
from agent.bench.launcher import Launcher
from agent.bench.processes import end_with_parent
from agent.bench.rank_monitor import POLL_SECONDS
from agent.bench.torchrun import RigGroup, build_environment, describe_status

AGREEMENT = 0.25  # by which two measurements may differ, as a share of the larger one
TOOL_SECONDS = 120.0
#: nvbandwidth's test cases by direction: copies by the copy engines.
TESTCASES = {
    "host_to_device": "host_to_device_memcpy_ce",
    "device_to_host": "device_to_host_memcpy_ce",
}


def run(run: Launcher, options: Mapping[str, Any]) -> Ending:
    """Run the part. Options: size_bytes."""
    installed = {name: path for name in MEASURE if (path := shutil.which(name))}
    for name, path in installed.items():
        try:
            entry = MEASURE[name](run, path, options["size_bytes"])
        except UnusableError as error:
            entry = {"tool": name, "version": None, "agrees": None, "reason": error.message}
        if run.is_interrupted():
            return Ending("interrupted")
        run.document["tools"].append(entry)
        run.line(text_tables.format_tool_row(entry))
    if installed:
        run.end("tools", documents.list_wrong_values({"tools": run.document["tools"]}))
    else:
        run.close("tools", "skipped", f"not installed: {', '.join(MEASURE)}")
    return Ending("ok")


def all_reduce_perf(run: Launcher, path: str, size_bytes: int) -> ToolEntry:
    """Run nccl-tests' all_reduce at a size that our benchmark also measured."""
    size, ours = find_nearest(run.document["collectives"], size_bytes)
    with tempfile.TemporaryDirectory(prefix="deeprig-bench-") as folder:
        file = Path(folder) / "result.json"
        run_program(
            run,
            [
                path,
                "-b",
                str(size),
                "-e",
                str(size),
                "-g",
                str(run.resources.ranks),
                "-J",
                str(file),
            ],
        )
        if not file.exists():
            raise UnusableError("wrote no file with -J: nccl-tests older than 2.17?")
        document = json.loads(file.read_text(encoding="utf-8"))
    theirs = parse_all_reduce(document)
    agrees, reason = compare({"all_reduce": (ours, theirs["bus_bandwidth_bytes_per_second"])})
    if theirs["wrong_values"]:
        agrees, reason = False, f"{theirs['wrong_values']} wrong values"
    return {
        "tool": "all_reduce_perf",
        "version": theirs["version"],
        "size_bytes": theirs["size_bytes"],
        "time_seconds": theirs["time_seconds"],
        "bus_bandwidth_bytes_per_second": theirs["bus_bandwidth_bytes_per_second"],
        "wrong_values": theirs["wrong_values"],
        "agrees": agrees,
        "reason": reason,
    }


def nvbandwidth(run: Launcher, path: str, size_bytes: int) -> ToolEntry:
    """Run nvbandwidth's copies between host and each GPU."""
    mebibytes = str(max(1, size_bytes >> 20))  # its buffers, of which half are pinned
    text = run_program(run, [path, "-j", "-b", mebibytes, "-t", *TESTCASES.values()])
    document = json.loads(text[text.index("{") :] if "{" in text else "{}")
    version, transfers = parse_nvbandwidth(document, run.document["gpus"])
    ours = {
        (entry["gpu"], entry["direction"]): entry["bandwidth_bytes_per_second"]
        for entry in run.document["transfers"]
        if entry["pinned"]
    }
    both = {
        f"{entry['gpu']} {entry['direction']}": (
            ours.get((entry["gpu"], entry["direction"])),
            entry["bandwidth_bytes_per_second"],
        )
        for entry in transfers
    }
    agrees, reason = compare(both)
    return {
        "tool": "nvbandwidth",
        "version": version,
        "transfers": transfers,
        "agrees": agrees,
        "reason": reason,
    }


#: The benchmark of each program.
MEASURE: dict[str, Callable[[Launcher, str, int], ToolEntry]] = {
    "all_reduce_perf": all_reduce_perf,
    "nvbandwidth": nvbandwidth,
}


def find_nearest(
    collectives: Sequence[Mapping[str, Any]], size_bytes: int
) -> tuple[int, float | None]:
    """Return the nearest size of our all_reduce, and its bus bandwidth.

    Without an all_reduce, the size itself and None.
    """
    measured = {
        size["size_bytes"]: size["bus_bandwidth_bytes_per_second"]
        for entry in collectives
        if entry["collective"] == "all_reduce"
        for size in entry["sizes"]
    }
    if not measured:
        return size_bytes, None
    size = min(measured, key=lambda size: abs(size - size_bytes))
    return size, measured[size]


def parse_all_reduce(document: Mapping[str, Any]) -> AllReduceResult:
    """Return the last size of nccl-tests' JSON (file version 1 to 3). Raises UnusableError.

    The time is that of the operation in place, like torch.distributed's all_reduce; wrong values
    are counted in place and out of place.
    """
    try:
        result = document["results"][-1]
        in_place = result["in_place"]
        wrong = [result[name]["nwrong"] for name in ("in_place", "out_of_place")]
        counted = [int(count) for count in wrong if count is not None]
        return {
            "version": str(document["nccl_version"]),
            "size_bytes": int(result["size"]),
            "time_seconds": in_place["time"] / 1e6,
            "bus_bandwidth_bytes_per_second": in_place["bus_bw"] * 1e9,
            "wrong_values": sum(counted) if counted else None,
        }
    except (KeyError, IndexError, TypeError, ValueError):
        raise UnusableError("its JSON is not in the format of nccl-tests 2.17 to 2.19") from None


def parse_nvbandwidth(
    document: Mapping[str, Any], gpus: Sequence[str]
) -> tuple[str | None, list[ToolTransfer]]:
    """Return the version of nvbandwidth, and bandwidths by GPU and direction, from its JSON.

    A matrix of copies to or from the host has one row with a column for each GPU; numbers are texts
    in GB/s. GPUs without addresses are numbered. Raises UnusableError.
    """
    root = document.get("nvbandwidth", {})
    if "error" in root:
        raise UnusableError(str(root["error"]))
    transfers: list[ToolTransfer] = []
    for direction, testcase in TESTCASES.items():
        for entry in root.get("testcases", []):
            if entry.get("name") != testcase or "bandwidth_matrix" not in entry:
                continue
            row = entry["bandwidth_matrix"][0]
            for gpu, value in zip(gpus or map(str, range(len(row))), row, strict=False):
                if value != "N/A":
                    transfers.append(
                        {
                            "gpu": gpu,
                            "direction": direction,
                            "bandwidth_bytes_per_second": float(value) * 1e9,
                        }
                    )
    if not transfers:
        raise UnusableError("its JSON has no copies between host and GPUs")
    return root.get("version"), transfers


def compare(both: Mapping[str, tuple[float | None, float]]) -> tuple[bool | None, str]:
    """Return whether our bandwidths and theirs agree, and the reason if they do not.

    both: ours and theirs by what was measured. The result is None if ours has none of them.
    """
    pairs = {name: (ours, theirs) for name, (ours, theirs) in both.items() if ours is not None}
    if not pairs:
        return None, "our benchmark has no result to compare with"
    different = [
        f"{name}: {theirs / 1e9:.2f} GB/s, ours {ours / 1e9:.2f}"
        for name, (ours, theirs) in pairs.items()
        if abs(ours - theirs) > AGREEMENT * max(ours, theirs)
    ]
    return not different, "; ".join(different)


def run_program(run: Launcher, words: Sequence[str]) -> str:
    """Return a program's standard output. Raises UnusableError if it fails or takes too long."""
    until = time.monotonic() + min(TOOL_SECONDS, run.remaining_seconds())
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            words,
            env=build_environment(os.environ, run.resources.backend, RigGroup(), run.environment),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=errors,
            start_new_session=True,
            preexec_fn=end_with_parent,
        )
        try:
            while process.poll() is None:
                if run.is_interrupted() or time.monotonic() > until:
                    raise UnusableError("did not end in time")
                time.sleep(POLL_SECONDS)
        finally:
            run.end_processes()
        out.seek(0)
        errors.seek(0)
        text = out.read().decode(errors="replace")
        messages = errors.read().decode(errors="replace")
    # nccl-tests fails if values are wrong, but then it has also written its result.
    if process.returncode and not text.strip():
        last = (messages.strip().splitlines() or [""])[-1]
        raise UnusableError(f"{describe_status(process.returncode)}: {last}")
    return text

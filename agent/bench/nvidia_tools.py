"""NVIDIA's own benchmarks, where they are installed: do they find what we find?

all_reduce_perf (nccl-tests 2.17 or newer, for its -J) and nvbandwidth. Parsing and comparing are
pure.
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
from agent.bench.errors import UnusableError
from agent.bench.job import Ending
from agent.bench.launcher import Launcher
from agent.bench.processes import end_with_parent
from agent.bench.rank_monitor import POLL_SECONDS
from agent.bench.torchrun import RigGroup, ended, environment

AGREEMENT = 0.25  # what two ways of measuring may differ by, as a share of the larger
TOOL_SECONDS = 120.0
#: nvbandwidth's testcases by our names of directions: copies by the copy engines.
TESTCASES = {
    "host_to_device": "host_to_device_memcpy_ce",
    "device_to_host": "device_to_host_memcpy_ce",
}


def run(run: Launcher, options: Mapping[str, Any]) -> Ending:
    """The part. Options: size_bytes."""
    found = {name: path for name in MEASURE if (path := shutil.which(name))}
    for name, path in found.items():
        try:
            entry = MEASURE[name](run, path, options["size_bytes"])
        except UnusableError as error:
            entry = {"tool": name, "version": None, "agrees": None, "reason": error.message}
        if run.interrupted():
            return Ending("interrupted")
        run.document["tools"].append(entry)
        run.line(text_tables.tool_row(entry))
    if found:
        run.end("tools", documents.wrong({"tools": run.document["tools"]}))
    else:
        run.close("tools", "skipped", f"not installed: {', '.join(MEASURE)}")
    return Ending("ok")


def all_reduce_perf(run: Launcher, path: str, size_bytes: int) -> dict[str, Any]:
    """nccl-tests' all_reduce at a size that we measured, too."""
    size, ours = nearest(run.document["collectives"], size_bytes)
    with tempfile.TemporaryDirectory(prefix="deeprig-bench-") as folder:
        file = Path(folder) / "result.json"
        output(run, [
            path, "-b", str(size), "-e", str(size), "-g", str(run.resources.ranks), "-J", str(file),
        ])  # fmt: skip
        if not file.exists():
            raise UnusableError("wrote no file with -J: nccl-tests older than 2.17?")
        document = json.loads(file.read_text(encoding="utf-8"))
    theirs = all_reduce_result(document)
    agrees, reason = compared({"all_reduce": (ours, theirs["bus_bandwidth_bytes_per_second"])})
    if theirs["wrong_values"]:
        agrees, reason = False, f"{theirs['wrong_values']} wrong values"
    return {"tool": "all_reduce_perf", **theirs, "agrees": agrees, "reason": reason}


def nvbandwidth(run: Launcher, path: str, size_bytes: int) -> dict[str, Any]:
    """nvbandwidth's copies between host and each GPU."""
    mebibytes = str(max(1, size_bytes >> 20))  # its buffers, of which half are pinned
    text = output(run, [path, "-j", "-b", mebibytes, "-t", *TESTCASES.values()])
    document = json.loads(text[text.index("{") :] if "{" in text else "{}")
    version, transfers = nvbandwidth_result(document, run.document["gpus"])
    ours = {
        (entry["gpu"], entry["direction"]): entry["bandwidth_bytes_per_second"]
        for entry in run.document["transfers"] if entry["pinned"]
    }  # fmt: skip
    both = {
        f"{entry['gpu']} {entry['direction']}": (
            ours.get((entry["gpu"], entry["direction"])), entry["bandwidth_bytes_per_second"],
        )
        for entry in transfers
    }  # fmt: skip
    agrees, reason = compared(both)
    return {
        "tool": "nvbandwidth", "version": version, "transfers": transfers, "agrees": agrees,
        "reason": reason,
    }  # fmt: skip


#: By the program's name.
MEASURE: dict[str, Callable[[Any, str, int], dict[str, Any]]] = {
    "all_reduce_perf": all_reduce_perf,
    "nvbandwidth": nvbandwidth,
}


def nearest(collectives: Sequence[Mapping[str, Any]], size_bytes: int) -> tuple[int, float | None]:
    """The size of our all_reduce nearest to this one, and its bus bandwidth.

    The size itself and None where there was no all_reduce.
    """
    measured = {
        size["size_bytes"]: size["bus_bandwidth_bytes_per_second"]
        for entry in collectives if entry["collective"] == "all_reduce"
        for size in entry["sizes"]
    }  # fmt: skip
    if not measured:
        return size_bytes, None
    size = min(measured, key=lambda one: abs(one - size_bytes))
    return size, measured[size]


def all_reduce_result(document: Mapping[str, Any]) -> dict[str, Any]:
    """What nccl-tests' JSON (file version 1 to 3) says of its last size. Raises UnusableError.

    Of its two ways the time in place, which is how torch.distributed's all_reduce works, and the
    wrong values of both.
    """
    try:
        result = document["results"][-1]
        way = result["in_place"]
        wrong = [result[name]["nwrong"] for name in ("in_place", "out_of_place")]
        counted = [int(count) for count in wrong if count is not None]
        return {
            "version": str(document["nccl_version"]),
            "size_bytes": int(result["size"]),
            "time_seconds": way["time"] / 1e6,
            "bus_bandwidth_bytes_per_second": way["bus_bw"] * 1e9,
            "wrong_values": sum(counted) if counted else None,
        }
    except (KeyError, IndexError, TypeError, ValueError):
        raise UnusableError("its JSON is not as nccl-tests 2.17 to 2.19 writes it") from None


def nvbandwidth_result(
    document: Mapping[str, Any], gpus: Sequence[str]
) -> tuple[str | None, list[dict[str, Any]]]:
    """Version, and bandwidth by GPU and direction, of nvbandwidth -j. Raises UnusableError.

    A matrix of copies to or from the host has one row, a column for each GPU, numbers as text in
    GB/s. GPUs without addresses are numbered.
    """
    root = document.get("nvbandwidth", {})
    if "error" in root:
        raise UnusableError(str(root["error"]))
    transfers = []
    for direction, testcase in TESTCASES.items():
        for entry in root.get("testcases", []):
            if entry.get("name") != testcase or "bandwidth_matrix" not in entry:
                continue
            row = entry["bandwidth_matrix"][0]
            for gpu, value in zip(gpus or map(str, range(len(row))), row, strict=False):
                if value != "N/A":
                    transfers.append({
                        "gpu": gpu, "direction": direction,
                        "bandwidth_bytes_per_second": float(value) * 1e9,
                    })  # fmt: skip
    if not transfers:
        raise UnusableError("its JSON has no copies between host and GPUs")
    return root.get("version"), transfers


def compared(both: Mapping[str, tuple[float | None, float]]) -> tuple[bool | None, str]:
    """Whether ours and theirs agree, by what was measured; None where we have none. And why not."""
    known = {name: (ours, theirs) for name, (ours, theirs) in both.items() if ours is not None}
    if not known:
        return None, "nothing of ours to compare with"
    apart = [
        f"{name}: {theirs / 1e9:.2f} GB/s, ours {ours / 1e9:.2f}"
        for name, (ours, theirs) in known.items()
        if abs(ours - theirs) > AGREEMENT * max(ours, theirs)
    ]
    return not apart, "; ".join(apart)


def output(run: Launcher, words: Sequence[str]) -> str:
    """A program's standard output. Raises UnusableError when it fails, or takes too long."""
    until = time.monotonic() + min(TOOL_SECONDS, run.left())
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            words,
            env=environment(os.environ, run.resources.backend, RigGroup(), run.environment),
            stdin=subprocess.DEVNULL, stdout=out, stderr=errors, start_new_session=True,
            preexec_fn=end_with_parent,
        )  # fmt: skip
        try:
            while process.poll() is None:
                if run.interrupted() or time.monotonic() > until:
                    raise UnusableError("did not end in time")
                time.sleep(POLL_SECONDS)
        finally:
            run.end_processes()
        out.seek(0)
        errors.seek(0)
        text, said = out.read().decode(errors="replace"), errors.read().decode(errors="replace")
    # nccl-tests ends with a status when values are wrong: that is in what it wrote.
    if process.returncode and not text.strip():
        last = (said.strip().splitlines() or [""])[-1]
        raise UnusableError(f"{ended(process.returncode)}: {last}")
    return text

"""Reports other programs on the GPUs: `python -m agent.bench.idle` prints a JSON text each second.

The text is empty while the GPUs are idle. With `--once` it looks once, prints a sentence, and exits
with status 75 if a program uses a GPU. Descendants of the process that started this one do not
count. NVML (pynvml) lists every program with a CUDA context, even if it waits.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from agent.bench.processes import list_descendants

LOOK_SECONDS = 1.0
BUSY_STATUS = 75  # "try again later" (sysexits.h, EX_TEMPFAIL)
BUSY_PERCENT = 10  # utilisation by a program that NVML does not list, such as a container's


def format_programs(programs: Iterable[tuple[int, str, str]], excluded_pids: Iterable[int]) -> str:
    """Return the programs of other processes; each is a process id, its name, and its GPU.

    >>> format_programs([(7, "python", "0000:04:00.0"), (9, "rank", "0000:04:00.0")], {9})
    'python (7) on 0000:04:00.0'
    """
    ours = set(excluded_pids)
    return ", ".join(f"{name} ({pid}) on {gpu}" for pid, name, gpu in programs if pid not in ours)


def format_utilization(utilization: Mapping[str, int]) -> str:
    """Return the GPUs that are busy. utilization: percent by address."""
    busy = {gpu: percent for gpu, percent in utilization.items() if percent >= BUSY_PERCENT}
    return ", ".join(f"{gpu} works at {percent} %" for gpu, percent in busy.items())


def read_name(pid: int) -> str:
    """Return a process's name; that of another container's process cannot be read."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "a program"


def read_gpus(nvml: Any) -> tuple[list[tuple[int, str, str]], dict[str, int]]:
    """Return the programs with a CUDA context, and the utilisation in percent by GPU."""
    programs, utilization = [], {}
    for index in range(nvml.nvmlDeviceGetCount()):
        try:
            gpu = nvml.nvmlDeviceGetHandleByIndex(index)
            address = nvml.nvmlDeviceGetPciInfo(gpu).busId.lower()[-12:]
            for process in nvml.nvmlDeviceGetComputeRunningProcesses(gpu):
                programs.append((process.pid, read_name(process.pid), address))
            utilization[address] = int(nvml.nvmlDeviceGetUtilizationRates(gpu).gpu)
        except nvml.NVMLError:
            continue  # a GPU that is lost, or does not support the call
    return programs, utilization


def main() -> int:
    """Report each second until the parent ends, or once."""
    once = sys.argv[1:] == ["--once"]
    launcher = os.getppid()
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception as error:  # no such module, or whatever it raises without a driver
        print(f"cannot check whether the GPUs are idle: {error}", file=sys.stderr)
        return 0 if once else 1  # without a driver no program uses a GPU
    started = False
    own_pids: set[int] = set()  # since the start: NVML lists a process for a moment after its end
    while True:
        # With --once systemd asks, of which every process is a descendant.
        own_pids |= set() if once else {launcher, *list_descendants(launcher)}
        programs, utilization = read_gpus(pynvml)
        own_pids |= set() if once else set(list_descendants(launcher))  # started meanwhile
        text = format_programs(programs, own_pids)
        if not started and not programs:  # later the benchmarks keep the GPUs busy
            text = format_utilization(utilization)
        if once:
            print(text or "the GPUs are idle")
            return BUSY_STATUS if text else 0
        started = True
        print(json.dumps(text), flush=True)
        time.sleep(LOOK_SECONDS)


if __name__ == "__main__":
    sys.exit(main())

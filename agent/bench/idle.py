"""Whether anybody else works on the GPUs: `python -m agent.bench.idle`, a JSON text a line.

Empty while nobody does; with `--once` it looks once, says it in words, and ends with status 75 when
somebody does. Our own are all processes below the one that started this. NVML is asked (pynvml),
which knows every program with a CUDA context, also one that waits.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from agent.bench.processes import descendants

LOOK_SECONDS = 1.0
BUSY_STATUS = 75  # "try again later" (sysexits.h, EX_TEMPFAIL)
BUSY_PERCENT = 10  # utilisation that a program leaves which NVML does not name: a container's


def in_words(programs: Iterable[tuple[int, str, str]], own: Iterable[int]) -> str:
    """Programs on GPUs that are not our own: each a process id, its name, and its GPU.

    >>> in_words([(7, "python", "0000:04:00.0"), (9, "rank", "0000:04:00.0")], {9})
    'python (7) on 0000:04:00.0'
    """
    ours = set(own)
    return ", ".join(f"{name} ({pid}) on {gpu}" for pid, name, gpu in programs if pid not in ours)


def busy_in_words(utilization: Mapping[str, int]) -> str:
    """GPUs that work, in percent by address, though no program is named."""
    return ", ".join(
        f"{gpu} works at {percent} %" for gpu, percent in utilization.items()
        if percent >= BUSY_PERCENT
    )  # fmt: skip


def name_of(pid: int) -> str:
    """A process's name; that of one in another container can't be read."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "a program"


def look(nvml: Any) -> tuple[list[tuple[int, str, str]], dict[str, int]]:
    """Programs with a CUDA context, and utilisation in percent by GPU."""
    programs, utilization = [], {}
    for index in range(nvml.nvmlDeviceGetCount()):
        try:
            gpu = nvml.nvmlDeviceGetHandleByIndex(index)
            address = nvml.nvmlDeviceGetPciInfo(gpu).busId.lower()[-12:]
            for process in nvml.nvmlDeviceGetComputeRunningProcesses(gpu):
                programs.append((process.pid, name_of(process.pid), address))
            utilization[address] = int(nvml.nvmlDeviceGetUtilizationRates(gpu).gpu)
        except nvml.NVMLError:
            continue  # a GPU that is lost, or does not tell
    return programs, utilization


def main() -> int:
    """Look each second until the parent ends; or once."""
    once = sys.argv[1:] == ["--once"]
    launcher = os.getppid()
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception as error:  # no such module, or whatever it raises without a driver
        print(f"nobody can look whether GPUs are idle: {error}", file=sys.stderr)
        return 0 if once else 1  # a driver that does not answer runs no job
    started = False
    own: set[int] = set()  # that ever were: NVML names one for a moment after its end, too
    while True:
        # Once, it is systemd that asks: all that runs on the rig is below that.
        own |= set() if once else {launcher, *descendants(launcher)}
        programs, utilization = look(pynvml)
        own |= set() if once else set(descendants(launcher))  # started meanwhile
        said = in_words(programs, own)
        if not started and not programs:  # later we keep them busy ourselves
            said = busy_in_words(utilization)
        if once:
            print(said or "nobody works on the GPUs")
            return BUSY_STATUS if said else 0
        started = True
        print(json.dumps(said), flush=True)
        time.sleep(LOOK_SECONDS)


if __name__ == "__main__":
    sys.exit(main())

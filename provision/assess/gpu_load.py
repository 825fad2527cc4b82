"""A short load on idle GPUs, and the hottest that each of them gets."""

from __future__ import annotations

import shlex
from concurrent.futures import ThreadPoolExecutor, wait

from provision.assess import nvidia_smi
from provision.assess.nvidia_smi import Smi
from provision.errors import DeeprigError
from provision.paths import BENCH_PROGRAM
from provision.ssh.shell import RootShell

SECONDS = 20  # in which a card's core comes close to its temperature; its case takes minutes
EVERY = 1.0  # seconds between two looks
TIME_IS_UP = 124  # what `timeout` ends with
LOOK = "timeout 10 nvidia-smi -q -x 2>/dev/null || :"


def measure_hottest(shell: RootShell, host: str) -> list[Smi]:
    """Return nvidia-smi's values for each GPU at its hottest. Raises DeeprigError.

    Matrix products on all GPUs, again and again; a rig that is not provisioned has none.
    """
    if shell.run(f"test -x {BENCH_PROGRAM}").status != 0:
        raise DeeprigError(
            "this rig has nothing yet to put a load on its GPUs with",
            advice=f"Assess it while its miner runs, or after fab provision -H {host}.",
        )
    loop = f"while :; do {BENCH_PROGRAM} gemm --plan quick >/dev/null || exit; done"
    command = f"timeout --signal=INT --kill-after=10 {SECONDS} sh -c {shlex.quote(loop)}"
    hottest_by_address: dict[str, Smi] = {}
    with ThreadPoolExecutor(1) as pool:
        work = pool.submit(shell.run, command)
        while not work.done():
            for gpu in nvidia_smi.parse(shell.run(LOOK).out.decode("utf-8", "replace")):
                before = hottest_by_address.get(gpu.address)
                if before is None or (gpu.celsius or 0) > (before.celsius or 0):
                    hottest_by_address[gpu.address] = gpu
            wait([work], timeout=EVERY)
    if work.result().status != TIME_IS_UP:
        raise DeeprigError(
            f"the load on the GPUs stopped early: {work.result().last_words or 'no reason given'}",
            advice=f"fab bench -H {host} --parts gemm shows details.",
        )
    return list(hottest_by_address.values())

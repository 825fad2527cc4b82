"""Starts the process that asks NVML (child.py), polls it with deadlines, and replaces it.

Each sample polls once. A GPU that does not answer by the deadline counts as hung in this sample;
the readings of the others are used. When no GPU answers any more, the process is replaced: after an
upgrade it still uses the library that it began with, and a hanging call cannot be cancelled.
"""

from __future__ import annotations

import json
import logging
import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from agent.nvml.messages import SampleRequest
from agent.readings.nvml import READING_FIELDS, DriverReading, GpuReading
from agent.readings.pcie import raise_exhausted

LIBRARY = "libnvidia-ml.so.1"
LINE_MOST_BYTES = 1 << 20  # a GPU's line has 2 KB
UNKNOWN = "unknown"  # the version of a module that reports it in an unknown form


@dataclass(frozen=True)
class NvmlLimits:
    """When the process is replaced.

    retry_seconds: until the next try after a failed start; doubles up to retry_seconds_most.
    start_seconds: for NVML to initialise, which takes seconds on a large rig without persistence
    mode. hung_seconds: without an answer from any GPU. lost_seconds: with errors only, because a
    new process may find the GPUs. Both double up to patience_most times as long. kill_seconds: for
    SIGKILL to work. unkillable_most: processes stuck in the kernel, after which none is started.
    """

    retry_seconds: float = 5.0
    retry_seconds_most: float = 60.0
    start_seconds: float = 15.0
    hung_seconds: float = 6.0
    lost_seconds: float = 30.0
    patience_most: int = 10
    kill_seconds: float = 0.5
    unkillable_most: int = 3


log = logging.getLogger("deeprig-agent")


@dataclass(frozen=True)
class GpuAnswer:
    """NVML's answer for one GPU in a sample: a reading, or a problem.

    problem: lost, hung, absent, or `silent: …` with NVML's error message.
    """

    reading: GpuReading | None = None
    problem: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class NvmlPoll:
    """The answers of a sample by PCIe address, and the Xids since the last sample."""

    driver: DriverReading
    gpus: Mapping[str, GpuAnswer] = field(default_factory=dict)
    xids: Sequence[tuple[str, int]] = ()


#: Problems by NVML's error code (nvml.h: nvmlReturn_t).
PROBLEMS = {2: "absent", 6: "absent", 15: "lost"}


class NvmlProcess:
    """Starts, polls and replaces the process. Not thread-safe."""

    def __init__(
        self,
        *,
        procfs: str = "/proc",
        throughput: bool = False,
        command: Sequence[str] = (sys.executable, "-m", "agent.nvml.child"),
        limits: NvmlLimits | None = None,
    ) -> None:
        self.restarts = 0
        self._procfs = procfs
        self._throughput = throughput
        self._command = command
        self._limits = limits or NvmlLimits()
        self._process: subprocess.Popen[bytes] | None = None
        self._unkillable: list[subprocess.Popen[bytes]] = []
        self._buffer = b""
        self._sample = 0
        self._module = ""  # its version when the process began
        self._driver: DriverReading | None = None  # the first message of the process
        self._library: str | None = None
        self._failed: tuple[str, str, str] | None = None  # state, detail, stamp
        self._answered_at = self._read_at = self._retry_at = 0.0
        self._retry_seconds, self._patience = self._limits.retry_seconds, 1

    @property
    def pid(self) -> int | None:
        """The process id, while a process runs."""
        return self._process.pid if self._process else None

    def close(self) -> None:
        """End the process, and release those that ended late."""
        self._end()
        self._release_ended()

    def poll(self, addresses: Sequence[str], deadline: float) -> NvmlPoll:
        """Ask about these GPUs and wait at most `deadline` seconds for the answers."""
        now = time.monotonic()
        module = read_module_version(self._procfs)
        if module is None:
            self._end()
            self._failed, self._retry_at = None, 0.0
            self._retry_seconds = self._limits.retry_seconds
            return NvmlPoll(DriverReading("missing", "the nvidia module is not loaded"))
        if self._process and module != self._module:
            self._end()  # another module was loaded, which its library does not match
            self._driver, self._failed, self._retry_at = None, None, 0.0
        self._replace_when_hung(now)
        if self._process is None and not self._start(now, module):
            return NvmlPoll(self._build_reading(module))
        self._sample += 1
        request: SampleRequest = {
            "sample": self._sample,
            "gpus": list(addresses),
            "throughput": self._throughput,
        }
        answers: dict[str, GpuAnswer] = {}
        xids: list[tuple[str, int]] = []
        if self._send(request):
            self._receive(set(addresses), answers, xids, now + deadline)
        self._note_answers(addresses, answers)
        driver = self._build_reading(module)
        for address in addresses:
            if address not in answers and driver.state in ("ok", "unresponsive"):
                answers[address] = GpuAnswer(problem="hung", seconds=deadline)
        if driver.state == "ok" and addresses and not self._has_answer(answers):
            driver = replace(driver, state="unresponsive", detail="no GPU answers")
        return NvmlPoll(self._judge_library(driver, module), answers, tuple(xids))

    # Messages.

    def _send(self, request: SampleRequest) -> bool:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            os.write(self._process.stdin.fileno(), json.dumps(request).encode() + b"\n")
        except BlockingIOError:
            return True  # it has not read earlier requests: it hangs
        except OSError:
            self._note_end()
            return False
        return True

    def _receive(
        self,
        wanted: set[str],
        answers: dict[str, GpuAnswer],
        xids: list[tuple[str, int]],
        until: float,
    ) -> None:
        """Read lines until every wanted GPU has answered, the process ends, or time is up."""
        while self._process is not None and not (self._driver and wanted <= answers.keys()):
            left = until - time.monotonic()
            if left <= 0:
                return
            assert self._process.stdout is not None
            output = self._process.stdout.fileno()
            if not select.select([output], [], [], left)[0]:
                return
            data = os.read(output, 65536)
            if not data:
                self._note_end()
                return
            *lines, self._buffer = (self._buffer + data).split(b"\n")
            if len(self._buffer) > LINE_MOST_BYTES:
                self._note_end()
                return
            for line in lines:
                try:
                    self._take(json.loads(line), answers, xids)
                except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
                    log.warning("invalid message from the process that asks NVML: %.80r", line)

    def _take(
        self, message: dict[str, Any], answers: dict[str, GpuAnswer], xids: list[tuple[str, int]]
    ) -> None:
        if "driver" in message:
            fields = dict(message["driver"])
            library = fields.pop("library", None)
            self._driver, self._library = DriverReading(**fields), library
            self._answered_at = self._read_at = time.monotonic()  # from now on the GPUs must answer
        elif "xids" in message:
            xids += [(address, number) for address, number in message["xids"]]
        elif message["sample"] == self._sample:
            answers[message["address"]] = parse_answer(message)

    def _build_reading(self, module: str) -> DriverReading:
        if self._driver is not None:
            return replace(self._driver, module_version=module)
        if self._failed is not None:
            state, detail, _ = self._failed
            return DriverReading(state, detail, module_version=module)  # type: ignore[arg-type]
        return DriverReading("starting", "NVML is being initialised", module_version=module)

    def _judge_library(self, driver: DriverReading, module: str) -> DriverReading:
        """Compare the library on disk with the module: the process keeps an older library."""
        on_disk = read_library_version(self._library)
        if driver.state == "ok" and on_disk is not None and module not in (on_disk, UNKNOWN):
            detail = f"library {on_disk}, loaded module {module}: new programs can't use the GPUs"
            return replace(driver, state="mismatch", detail=detail)
        return driver

    @staticmethod
    def _has_answer(answers: Mapping[str, GpuAnswer]) -> bool:
        """Return whether NVML answered for any GPU, even with an error."""
        return any(answer.problem != "hung" for answer in answers.values())

    # Start and end.

    def _start(self, now: float, module: str) -> bool:
        """Start the process, unless it is too early and the driver's files have not changed."""
        changed = self._failed is not None and self._failed[2] != self._stamp(module)
        self._release_ended()
        if now < self._retry_at and not changed:
            return False
        if len(self._unkillable) >= self._limits.unkillable_most:
            return False
        self._driver, self._buffer, self._module = None, b"", module
        try:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
            )
        except OSError as error:  # no memory, too many processes
            detail = f"the process that asks NVML can't be started: {error.strerror}"
            self._fail("unresponsive", detail, retry_in=self._retry_seconds)
            return False
        assert self._process.stdin is not None
        os.set_blocking(self._process.stdin.fileno(), False)
        self._answered_at = self._read_at = now
        return True

    def _note_answers(self, addresses: Sequence[str], answers: Mapping[str, GpuAnswer]) -> None:
        now = time.monotonic()
        is_without_gpus = self._driver is not None and not addresses
        if is_without_gpus or self._has_answer(answers):
            self._answered_at = now
        if is_without_gpus or any(answer.reading for answer in answers.values()):
            self._read_at = now
        if any(answer.reading for answer in answers.values()):
            self._retry_seconds, self._patience = self._limits.retry_seconds, 1

    def _replace_when_hung(self, now: float) -> None:
        """Replace a process without answers; less and less often if that does not help."""
        limits = self._limits
        hung, lost = limits.hung_seconds, limits.lost_seconds
        if self._driver is None:
            hung = lost = limits.start_seconds
        is_silent = now - self._answered_at > hung * self._patience
        if self._process and (is_silent or now - self._read_at > lost * self._patience):
            detail = "no GPU answers" if self._driver else "NVML does not initialise"
            self._end()
            self._patience = min(self._patience * 2, limits.patience_most)
            self.restarts += 1
            self._fail("unresponsive", detail, retry_in=0.0)

    def _note_end(self) -> None:
        """Handle a closed output: the process was killed, or reported why it cannot work."""
        state = self._driver.state if self._driver else "starting"
        detail = self._driver.detail if self._driver else ""
        self._end()
        if state == "ok":  # killed from outside: start it again at once
            self._driver, self._failed, self._retry_at = None, None, 0.0
            self.restarts += 1
        else:
            self._fail(state, detail, retry_in=self._retry_seconds)
            self._retry_seconds = min(self._retry_seconds * 2, self._limits.retry_seconds_most)

    def _fail(self, state: str, detail: str, *, retry_in: float) -> None:
        module = read_module_version(self._procfs) or ""
        self._driver = None
        self._failed = (state, detail, self._stamp(module))
        self._retry_at = time.monotonic() + retry_in if retry_in else 0.0

    def _stamp(self, module: str) -> str:
        """Return the versions of module and library: if they change, a start may succeed."""
        return f"{module} {read_library_version(self._library)}"

    def _release_ended(self) -> None:
        """Forget the processes that SIGKILL has ended meanwhile; polling releases their ids."""
        self._unkillable = [process for process in self._unkillable if process.poll() is None]

    def _end(self) -> None:
        if self._process is None:
            return
        process, self._process = self._process, None
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()
        process.kill()
        try:
            process.wait(timeout=self._limits.kill_seconds)
        except subprocess.TimeoutExpired:  # stuck in the kernel
            self._unkillable.append(process)


def parse_answer(message: Mapping[str, Any]) -> GpuAnswer:
    """Return the answer in one GPU's line of a sample."""
    seconds = float(message["seconds"])
    if "reading" in message:
        fields = {key: value for key, value in message["reading"].items() if key in READING_FIELDS}
        return GpuAnswer(GpuReading(**fields), seconds=seconds)
    if "busy" in message:
        return GpuAnswer(problem="hung", seconds=seconds)
    problem = PROBLEMS.get(message["code"], f"silent: {message['error']}")
    return GpuAnswer(problem=problem, seconds=seconds)


def read_module_version(procfs: str) -> str | None:
    """Return the version of the loaded kernel module; None if it is not loaded."""
    try:
        first = Path(procfs, "driver/nvidia/version").read_text(encoding="utf-8").partition("\n")[0]
    except OSError as error:
        raise_exhausted(error)
        return None
    match = re.search(r"\s(\d+\.\d+(?:\.\d+)?)\s", f"{first} ")
    return match.group(1) if match else UNKNOWN


def read_library_version(library: str | None) -> str | None:
    """Return the version of the library that new programs load, by the target of its link."""
    if library is None:
        return None
    link = Path(library).with_name(LIBRARY)
    match = re.search(r"\.so\.(\d+\.[\d.]+)$", os.path.realpath(link))
    return match.group(1) if match else None

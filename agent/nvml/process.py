"""The agent's side of the process that asks NVML (child.py): deadlines, and replacement.

One poll a sample. A GPU that does not answer by the deadline is hung, for this sample; the others'
readings are used. When no GPU answers any more, the process is replaced: a library that was
upgraded stays mapped in it, and a call that hangs can't be taken back.
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

from agent.readings.nvml import READING_FIELDS, DriverReading, GpuReading
from agent.readings.pcie import raise_exhausted

LIBRARY = "libnvidia-ml.so.1"
LINE_MOST_BYTES = 1 << 20  # a GPU's line has 2 KB
UNKNOWN = "unknown"  # the version of a module that does not tell it in a form we know


@dataclass(frozen=True)
class Limits:
    """When the process is replaced.

    retry_seconds: after a failed start, doubled each time up to retry_seconds_most. start_seconds:
    for NVML to initialise, which takes a large rig without persistence mode seconds. hung_seconds:
    of no answer from any GPU; lost_seconds: of nothing but errors, for NVML initialised anew may
    find the GPUs; both doubled each time up to patience_most times as long. kill_seconds: for
    SIGKILL to work. unkillable_most: processes stuck in the kernel, after which none is added.
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
class Answer:
    """What NVML said of one GPU in a sample: a reading, or a problem.

    problem: lost, hung, absent, or `silent: …` with NVML's words.
    """

    reading: GpuReading | None = None
    problem: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Poll:
    """A sample's answers by PCIe address, and the Xids that the driver reported since the last."""

    driver: DriverReading
    gpus: Mapping[str, Answer] = field(default_factory=dict)
    xids: Sequence[tuple[str, int]] = ()


#: NVML's error codes (nvml.h: nvmlReturn_t) that have a word of their own.
PROBLEMS = {2: "absent", 6: "absent", 15: "lost"}


class NvmlProcess:
    """Starts, asks and replaces the process. Not for several threads."""

    def __init__(
        self,
        *,
        procfs: str = "/proc",
        throughput: bool = False,
        command: Sequence[str] = (sys.executable, "-m", "agent.nvml.child"),
        limits: Limits | None = None,
    ) -> None:
        self.restarts = 0
        self._procfs = procfs
        self._throughput = throughput
        self._command = command
        self._limits = limits or Limits()
        self._process: subprocess.Popen[bytes] | None = None
        self._unkillable: list[subprocess.Popen[bytes]] = []
        self._buffer = b""
        self._sample = 0
        self._module = ""  # the version that the process began with
        self._driver: DriverReading | None = None  # what the process said first
        self._library: str | None = None
        self._failed: tuple[str, str, str] | None = None  # state, detail, stamp
        self._answered_at = self._read_at = self._retry_at = 0.0
        self._retry_seconds, self._patience = self._limits.retry_seconds, 1

    @property
    def pid(self) -> int | None:
        """Of the process, while there is one."""
        return self._process.pid if self._process else None

    def close(self) -> None:
        """End the process."""
        self._end()

    def poll(self, addresses: Sequence[str], deadline: float) -> Poll:
        """Ask for all of these GPUs and wait at most `deadline` seconds."""
        now = time.monotonic()
        module = module_version(self._procfs)
        if module is None:
            self._end()
            self._failed, self._retry_at = None, 0.0
            self._retry_seconds = self._limits.retry_seconds
            return Poll(DriverReading("missing", "the nvidia module is not loaded"))
        if self._process and module != self._module:
            self._end()  # another module was loaded: the library that it holds does not fit
            self._driver, self._failed, self._retry_at = None, None, 0.0
        self._replace_when_hung(now)
        if self._process is None and not self._start(now, module):
            return Poll(self._reading(module))
        self._sample += 1
        request = {"sample": self._sample, "gpus": list(addresses), "throughput": self._throughput}
        answers: dict[str, Answer] = {}
        xids: list[tuple[str, int]] = []
        if self._send(request):
            self._receive(set(addresses), answers, xids, now + deadline)
        self._note_answers(addresses, answers)
        driver = self._reading(module)
        for address in addresses:
            if address not in answers and driver.state in ("ok", "unresponsive"):
                answers[address] = Answer(problem="hung", seconds=deadline)
        if driver.state == "ok" and addresses and not self._answered(answers):
            driver = replace(driver, state="unresponsive", detail="no GPU answers")
        return Poll(self._judge_library(driver, module), answers, tuple(xids))

    # What the process says.

    def _send(self, request: dict[str, Any]) -> bool:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            os.write(self._process.stdin.fileno(), json.dumps(request).encode() + b"\n")
        except BlockingIOError:
            return True  # it has not read the ones before: it hangs
        except OSError:
            self._ended()
            return False
        return True

    def _receive(
        self,
        wanted: set[str],
        answers: dict[str, Answer],
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
                self._ended()
                return
            *lines, self._buffer = (self._buffer + data).split(b"\n")
            if len(self._buffer) > LINE_MOST_BYTES:
                self._ended()
                return
            for line in lines:
                try:
                    self._take(json.loads(line), answers, xids)
                except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
                    log.warning("the process that asks NVML said %.80r", line)

    def _take(
        self, message: dict[str, Any], answers: dict[str, Answer], xids: list[tuple[str, int]]
    ) -> None:
        if "driver" in message:
            said = dict(message["driver"])
            library = said.pop("library", None)
            self._driver, self._library = DriverReading(**said), library
            self._answered_at = self._read_at = time.monotonic()  # the GPUs' time begins now
        elif "xids" in message:
            xids += [(address, number) for address, number in message["xids"]]
        elif message["sample"] == self._sample:
            answers[message["address"]] = answer(message)

    def _reading(self, module: str) -> DriverReading:
        if self._driver is not None:
            return replace(self._driver, module_version=module)
        if self._failed is not None:
            state, detail, _ = self._failed
            return DriverReading(state, detail, module_version=module)  # type: ignore[arg-type]
        return DriverReading("starting", "NVML is being initialised", module_version=module)

    def _judge_library(self, driver: DriverReading, module: str) -> DriverReading:
        """The process keeps the library that it began with; what is on the disk now may not fit."""
        on_disk = library_version(self._library)
        if driver.state == "ok" and on_disk is not None and module not in (on_disk, UNKNOWN):
            detail = f"library {on_disk}, loaded module {module}: new programs can't use the GPUs"
            return replace(driver, state="mismatch", detail=detail)
        return driver

    @staticmethod
    def _answered(answers: Mapping[str, Answer]) -> bool:
        """Whether NVML said anything at all of a GPU, be it an error."""
        return any(answer.problem != "hung" for answer in answers.values())

    # Its life.

    def _start(self, now: float, module: str) -> bool:
        """Start it, unless it is too early to try again; a change of the driver's files is not."""
        changed = self._failed is not None and self._failed[2] != self._stamp(module)
        self._unkillable = [process for process in self._unkillable if process.poll() is None]
        if now < self._retry_at and not changed:
            return False
        if len(self._unkillable) >= self._limits.unkillable_most:
            return False
        self._driver, self._buffer, self._module = None, b"", module
        try:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
            )
        except OSError as error:  # no memory, no more processes
            detail = f"the process that asks NVML can't be started: {error.strerror}"
            self._fail("unresponsive", detail, retry_in=self._retry_seconds)
            return False
        assert self._process.stdin is not None
        os.set_blocking(self._process.stdin.fileno(), False)
        self._answered_at = self._read_at = now
        return True

    def _note_answers(self, addresses: Sequence[str], answers: Mapping[str, Answer]) -> None:
        now = time.monotonic()
        nobody = self._driver is not None and not addresses  # who could answer
        if nobody or self._answered(answers):
            self._answered_at = now
        if nobody or any(answer.reading for answer in answers.values()):
            self._read_at = now
        if any(answer.reading for answer in answers.values()):
            self._retry_seconds, self._patience = self._limits.retry_seconds, 1

    def _replace_when_hung(self, now: float) -> None:
        """A process that was replaced in vain is replaced ever more rarely."""
        limits = self._limits
        hung, lost = limits.hung_seconds, limits.lost_seconds
        if self._driver is None:
            hung = lost = limits.start_seconds
        silent = now - self._answered_at > hung * self._patience
        if self._process and (silent or now - self._read_at > lost * self._patience):
            detail = "no GPU answers" if self._driver else "NVML does not initialise"
            self._end()
            self._patience = min(self._patience * 2, limits.patience_most)
            self.restarts += 1
            self._fail("unresponsive", detail, retry_in=0.0)

    def _ended(self) -> None:
        """It closed its output: it was killed, or said why it can't work."""
        state = self._driver.state if self._driver else "starting"
        detail = self._driver.detail if self._driver else ""
        self._end()
        if state == "ok":  # killed from outside: go on at once
            self._driver, self._failed, self._retry_at = None, None, 0.0
            self.restarts += 1
        else:
            self._fail(state, detail, retry_in=self._retry_seconds)
            self._retry_seconds = min(self._retry_seconds * 2, self._limits.retry_seconds_most)

    def _fail(self, state: str, detail: str, *, retry_in: float) -> None:
        module = module_version(self._procfs) or ""
        self._driver = None
        self._failed = (state, detail, self._stamp(module))
        self._retry_at = time.monotonic() + retry_in if retry_in else 0.0

    def _stamp(self, module: str) -> str:
        """What a try again depends on: the versions of module and library."""
        return f"{module} {library_version(self._library)}"

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


def answer(message: Mapping[str, Any]) -> Answer:
    """One GPU's line of a sample."""
    seconds = float(message["seconds"])
    if "reading" in message:
        known = {key: value for key, value in message["reading"].items() if key in READING_FIELDS}
        return Answer(GpuReading(**known), seconds=seconds)
    if "busy" in message:
        return Answer(problem="hung", seconds=seconds)
    problem = PROBLEMS.get(message["code"], f"silent: {message['error']}")
    return Answer(problem=problem, seconds=seconds)


def module_version(procfs: str) -> str | None:
    """The version of the loaded kernel module; None where none is loaded."""
    try:
        first = Path(procfs, "driver/nvidia/version").read_text(encoding="utf-8").partition("\n")[0]
    except OSError as error:
        raise_exhausted(error)
        return None
    found = re.search(r"\s(\d+\.\d+(?:\.\d+)?)\s", f"{first} ")
    return found.group(1) if found else UNKNOWN


def library_version(library: str | None) -> str | None:
    """The version of the library that new programs get, by the file that its link leads to."""
    if library is None:
        return None
    link = Path(library).with_name(LIBRARY)
    found = re.search(r"\.so\.(\d+\.[\d.]+)$", os.path.realpath(link))
    return found.group(1) if found else None

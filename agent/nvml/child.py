"""The process that asks NVML, apart from the agent: `python -m agent.nvml.child`.

A call into a broken driver can hang for ever, in a state in which not even SIGKILL ends it. So NVML
lives in a process of its own, with a thread a GPU: a hung one keeps its thread, the others go on.
The agent's side is process.py beside this file.

One line of JSON a message. In: {"sample": n, "gpus": [addresses], "throughput": bool}. Out:
- first {"driver": {state, detail, versions, library}}; unless its state is ok, the process ends;
- a line a GPU and sample, {"sample": n, "address": a, "seconds": s} with one of "reading" (the
  fields of readings.nvml.GpuReading), "error" and "code", or "busy" (seconds that a call hangs);
- {"xids": [[address, number], …]} when the driver reported some.
What libraries print goes to standard error.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import re
import sys
import threading
import time
from queue import SimpleQueue

import pynvml

from agent.nvml.gpu import GpuLostError, GpuReader, text

TYPE_CHECKING = False  # typing takes memory, and this process' is the agent's, too
if TYPE_CHECKING:
    from typing import Any

P2P_CAPS_READ = 0  # the constant NVML_P2P_CAPS_INDEX_READ is the tuple (0,) by mistake
XID_EVENT = 0x8  # nvmlEventTypeXidCriticalError
_writing = threading.Lock()
_output = 1  # the file descriptor of our lines


def say(message: dict[str, Any]) -> None:
    """Write one line; without a reader there is nothing left to do."""
    line = json.dumps(message, separators=(",", ":")).encode() + b"\n"
    with _writing:
        try:
            while line:
                line = line[os.write(_output, line) :]
        except OSError:
            os._exit(0)


class Events:
    """Xid events of every GPU that registered, asked for once a sample in a thread of its own."""

    def __init__(self) -> None:
        self.addresses: dict[int, str] = {}  # by the handle's own pointer
        self._asked: SimpleQueue[int] = SimpleQueue()
        try:
            self._set = pynvml.nvmlEventSetCreate()
        except pynvml.NVMLError:
            self._set = None
            return
        threading.Thread(target=self._run, daemon=True).start()

    def register(self, address: str, handle: Any) -> None:
        """Have the driver tell of this GPU's Xids; some drivers or rights do not allow it."""
        if self._set is None:
            return
        try:
            pynvml.nvmlDeviceRegisterEvents(handle, XID_EVENT, self._set)
        except pynvml.NVMLError:
            return
        self.addresses[pointer(handle)] = address

    def ask(self) -> None:
        """Have a look soon."""
        if self._set is not None and self.addresses and self._asked.empty():
            self._asked.put(0)

    def _run(self) -> None:
        while True:
            self._asked.get()
            found = []
            while (event := self._next()) is not None:
                address = self.addresses.get(pointer(event.device))
                if address is not None and event.eventType == XID_EVENT:
                    found.append([address, int(event.eventData)])
            if found:
                say({"xids": found})

    def _next(self) -> Any:
        try:
            return pynvml.nvmlEventSetWait_v2(self._set, 0)
        except pynvml.NVMLError:  # a timeout: there is none
            return None


class Peers:
    """Which GPU may read which other one's memory directly, and what lies between the two.

    Asked in a thread of its own, once for each pair: the call takes two GPUs, and one that hangs or
    is lost must not take the other along.
    """

    def __init__(self) -> None:
        self._handles: dict[str, Any] = {}  # by address
        self._access: dict[tuple[str, str], bool] = {}
        self._levels: dict[tuple[str, str], int] = {}
        self._new: SimpleQueue[str] = SimpleQueue()
        threading.Thread(target=self._run, daemon=True).start()

    def add(self, address: str, handle: Any) -> None:
        """A GPU that answers; asked about when its handle is new."""
        if self._handles.get(address) is not handle:
            self._handles[address] = handle
            self._new.put(address)

    def remove(self, address: str) -> None:
        """One that does not."""
        self._handles.pop(address, None)

    def of(self, address: str) -> dict[str, dict[str, Any]]:
        """What is known by now of a GPU and the others that answer."""
        others = sorted(self._handles)
        return {
            name: {other: table[address, other] for other in others if (address, other) in table}
            for name, table in (("peer_access", self._access), ("peer_topology", self._levels))
        }

    def _run(self) -> None:
        while True:
            address = self._new.get()
            for other in list(self._handles):
                if other != address:
                    self._ask(address, other)
                    self._ask(other, address)

    def _ask(self, one: str, other: str) -> None:
        with contextlib.suppress(KeyError, pynvml.NVMLError):  # gone meanwhile, or not told
            pair = self._handles[one], self._handles[other]
            level = pynvml.nvmlDeviceGetTopologyCommonAncestor(*pair)
            self._levels[one, other] = int(level)
        with contextlib.suppress(KeyError, pynvml.NVMLError):
            pair = self._handles[one], self._handles[other]
            status = pynvml.nvmlDeviceGetP2PStatus(*pair, P2P_CAPS_READ)
            self._access[one, other] = int(status) == pynvml.NVML_P2P_STATUS_OK


class Worker:
    """One GPU, and the thread that may hang with it."""

    def __init__(self, address: str, events: Events, peers: Peers) -> None:
        self.address = address
        self.since: float | None = None  # when the call at hand began
        self._events = events
        self._peers = peers
        self._requests: SimpleQueue[tuple[int, bool]] = SimpleQueue()
        self._reader: GpuReader | None = None
        threading.Thread(target=self._run, daemon=True).start()

    def ask(self, sample: int, throughput: bool) -> None:
        """Read the GPU, or say that the reading before has not ended."""
        if self.since is not None:
            busy = time.monotonic() - self.since
            say({"sample": sample, "address": self.address, "busy": busy, "seconds": busy})
            return
        self.since = time.monotonic()
        self._requests.put((sample, throughput))

    def _run(self) -> None:
        while True:
            sample, throughput = self._requests.get()
            began = time.perf_counter()
            answer: dict[str, Any] = {"sample": sample, "address": self.address}
            try:
                answer["reading"] = self._read(throughput)
            except GpuLostError as error:
                self._forget()
                answer |= {"error": str(error), "code": error.code}
            except Exception as error:  # of one GPU, and the others are read
                self._forget()
                answer |= {"error": repr(error), "code": -1}
            answer["seconds"] = time.perf_counter() - began
            self.since = None
            say(answer)

    def _read(self, throughput: bool) -> dict[str, Any]:
        if self._reader is None:
            reader = GpuReader(pynvml, self.address)
            self._events.register(self.address, reader.handle)
            self._reader = reader
        self._reader.throughput = throughput
        reading = self._reader.read()
        self._peers.add(self.address, self._reader.handle)
        return {**reading, **self._peers.of(self.address)}

    def _forget(self) -> None:
        """A GPU that comes back gets a handle anew."""
        self._reader = None
        self._peers.remove(self.address)


def pointer(handle: Any) -> int:
    """What tells one device handle from another."""
    return ctypes.cast(handle, ctypes.c_void_p).value or 0


def driver() -> dict[str, Any]:
    """Initialise NVML; its state as in readings.nvml.DriverReading, and where the library is."""
    states = {
        pynvml.NVML_ERROR_LIBRARY_NOT_FOUND: "library",
        pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: "mismatch",
        pynvml.NVML_ERROR_DRIVER_NOT_LOADED: "missing",
    }
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        state = states.get(error.value, "unresponsive")
        return {"state": state, "detail": str(error), "library": library()}
    cuda = None
    try:
        number = pynvml.nvmlSystemGetCudaDriverVersion_v2()
        cuda = f"{number // 1000}.{number % 1000 // 10}"
    except pynvml.NVMLError:
        pass
    return {
        "state": "ok",
        "detail": "",
        "driver_version": text(pynvml.nvmlSystemGetDriverVersion()),
        "nvml_version": text(pynvml.nvmlSystemGetNVMLVersion()),
        "cuda_version": cuda,
        "library": library(),
    }


def library() -> str | None:
    """The file that NVML was loaded from."""
    with open("/proc/self/maps") as maps:  # noqa: PTH123  # pathlib takes memory here
        found = re.search(r"\s(/\S*/libnvidia-ml\.so\S*)", maps.read())
    return found.group(1) if found else None


def main() -> None:
    """Answer until the agent is gone."""
    global _output
    _output = os.dup(1)
    os.dup2(2, 1)
    gc.freeze()  # modules stay: no collection need look at them again
    state = driver()
    say({"driver": state})
    if state["state"] != "ok":
        return
    events, peers = Events(), Peers()
    workers: dict[str, Worker] = {}
    for line in sys.stdin:
        request = json.loads(line)
        for address in request["gpus"]:
            if address not in workers:
                workers[address] = Worker(address, events, peers)
            workers[address].ask(request["sample"], request["throughput"])
        events.ask()


if __name__ == "__main__":
    main()
    os._exit(0)  # threads that hang must not keep the process

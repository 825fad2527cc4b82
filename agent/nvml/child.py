"""The process that asks NVML: `python -m agent.nvml.child`. process.py starts and watches it.

A call into a broken driver can hang forever, in a state in which not even SIGKILL ends it. So NVML
runs in a separate process, with a thread for each GPU: a hung call blocks its thread only.

Each message is a line of JSON. In: {"sample": n, "gpus": [addresses], "throughput": bool}. Out:
- first {"driver": {state, detail, versions, library}}; unless the state is ok, the process ends;
- a line for each GPU and sample, {"sample": n, "address": a, "seconds": s} with "reading" (the
  fields of readings.nvml.GpuReading), "error" and "code", or "busy" (for how long a call hangs);
- {"xids": [[address, number], …]} when the driver reports some.
The output of libraries goes to standard error.
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

from agent.nvml.gpu import GpuLostError, GpuReader, as_text

TYPE_CHECKING = False  # importing typing takes memory, which counts as the agent's
if TYPE_CHECKING:
    from typing import Any

    from agent.nvml.messages import (
        DriverFields,
        DriverMessage,
        GpuMessage,
        SampleRequest,
        WorkingDriverFields,
        XidMessage,
    )

P2P_CAPS_READ = 0  # the constant NVML_P2P_CAPS_INDEX_READ is the tuple (0,) by mistake
XID_EVENT = 0x8  # nvmlEventTypeXidCriticalError
_writing = threading.Lock()
_output = 1  # the file descriptor for messages


def send(message: DriverMessage | XidMessage | GpuMessage) -> None:
    """Write one line; end the process if the agent is gone."""
    line = json.dumps(message, separators=(",", ":")).encode() + b"\n"
    with _writing:
        try:
            while line:
                line = line[os.write(_output, line) :]
        except OSError:
            os._exit(0)


class XidEvents:
    """Xid events of every registered GPU, read once a sample in a separate thread."""

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
        """Ask the driver to report this GPU's Xids; some drivers or permissions do not allow it."""
        if self._set is None:
            return
        try:
            pynvml.nvmlDeviceRegisterEvents(handle, XID_EVENT, self._set)
        except pynvml.NVMLError:
            return
        self.addresses[get_pointer(handle)] = address

    def request(self) -> None:
        """Make the thread read events soon."""
        if self._set is not None and self.addresses and self._asked.empty():
            self._asked.put(0)

    def _run(self) -> None:
        while True:
            self._asked.get()
            xids: list[list[str | int]] = []
            while (event := self._read_next()) is not None:
                address = self.addresses.get(get_pointer(event.device))
                code = int(event.eventData)  # NVML: zero where the event is not an Xid
                if address is not None and event.eventType == XID_EVENT and code:
                    xids.append([address, code])
            if xids:
                send({"xids": xids})

    def _read_next(self) -> Any:
        try:
            return pynvml.nvmlEventSetWait_v2(self._set, 0)
        except pynvml.NVMLError:  # a timeout: no event
            return None


class GpuPeers:
    """Which GPUs can read each other's memory directly, and what is between them.

    A separate thread asks once for each pair: the call involves two GPUs, and a GPU that hangs or
    is lost must not block the other one's readings.
    """

    def __init__(self) -> None:
        self._handles: dict[str, Any] = {}  # by address
        self._access: dict[tuple[str, str], bool] = {}
        self._levels: dict[tuple[str, str], int] = {}
        self._queue: SimpleQueue[str] = SimpleQueue()
        threading.Thread(target=self._run, daemon=True).start()

    def add(self, address: str, handle: Any) -> None:
        """Add a GPU that answers; ask about it if its handle is new."""
        if self._handles.get(address) is not handle:
            self._handles[address] = handle
            self._queue.put(address)

    def remove(self, address: str) -> None:
        """Remove a GPU that does not answer."""
        self._handles.pop(address, None)

    def describe(self, address: str) -> dict[str, dict[str, Any]]:
        """Return what is known so far about a GPU and the others that answer."""
        others = sorted(self._handles)
        return {
            name: {other: table[address, other] for other in others if (address, other) in table}
            for name, table in (("peer_access", self._access), ("peer_topology", self._levels))
        }

    def _run(self) -> None:
        while True:
            address = self._queue.get()
            for other in list(self._handles):
                if other != address:
                    self._ask(address, other)
                    self._ask(other, address)

    def _ask(self, address: str, peer: str) -> None:
        with contextlib.suppress(KeyError, pynvml.NVMLError):  # gone meanwhile, or not supported
            pair = self._handles[address], self._handles[peer]
            level = pynvml.nvmlDeviceGetTopologyCommonAncestor(*pair)
            self._levels[address, peer] = int(level)
        with contextlib.suppress(KeyError, pynvml.NVMLError):
            pair = self._handles[address], self._handles[peer]
            status = pynvml.nvmlDeviceGetP2PStatus(*pair, P2P_CAPS_READ)
            self._access[address, peer] = int(status) == pynvml.NVML_P2P_STATUS_OK


class GpuWorker:
    """One GPU, and the thread that reads it and hangs with it."""

    def __init__(self, address: str, events: XidEvents, peers: GpuPeers) -> None:
        self.address = address
        self.since: float | None = None  # when the current call began
        self._events = events
        self._peers = peers
        self._requests: SimpleQueue[tuple[int, bool]] = SimpleQueue()
        self._reader: GpuReader | None = None
        threading.Thread(target=self._run, daemon=True).start()

    def ask(self, sample: int, throughput: bool) -> None:
        """Read the GPU, or report that the previous reading has not ended."""
        if self.since is not None:
            busy = time.monotonic() - self.since
            send({"sample": sample, "address": self.address, "busy": busy, "seconds": busy})
            return
        self.since = time.monotonic()
        self._requests.put((sample, throughput))

    def _run(self) -> None:
        while True:
            sample, throughput = self._requests.get()
            began = time.perf_counter()
            answer: GpuMessage = {"sample": sample, "address": self.address}
            try:
                answer["reading"] = self._read(throughput)
            except GpuLostError as error:
                self._forget()
                answer["error"], answer["code"] = str(error), error.code
            except Exception as error:  # the other GPUs are still read
                self._forget()
                answer["error"], answer["code"] = repr(error), -1
            answer["seconds"] = time.perf_counter() - began
            self.since = None
            send(answer)

    def _read(self, throughput: bool) -> dict[str, Any]:
        if self._reader is None:
            reader = GpuReader(pynvml, self.address)
            self._events.register(self.address, reader.handle)
            self._reader = reader
        self._reader.throughput = throughput
        reading = self._reader.read()
        self._peers.add(self.address, self._reader.handle)
        return {**reading, **self._peers.describe(self.address)}

    def _forget(self) -> None:
        """Discard the handle: a GPU that comes back gets a new one."""
        self._reader = None
        self._peers.remove(self.address)


def get_pointer(handle: Any) -> int:
    """Return the address that distinguishes device handles."""
    return ctypes.cast(handle, ctypes.c_void_p).value or 0


def initialise_nvml() -> DriverFields | WorkingDriverFields:
    """Initialise NVML; return the fields of readings.nvml.DriverReading, and the library's file."""
    states = {
        pynvml.NVML_ERROR_LIBRARY_NOT_FOUND: "library",
        pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: "mismatch",
        pynvml.NVML_ERROR_DRIVER_NOT_LOADED: "missing",
    }
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        state = states.get(error.value, "unresponsive")
        return {"state": state, "detail": str(error), "library": find_library()}
    cuda = None
    try:
        number = pynvml.nvmlSystemGetCudaDriverVersion_v2()
        cuda = f"{number // 1000}.{number % 1000 // 10}"
    except pynvml.NVMLError:
        pass
    return {
        "state": "ok",
        "detail": "",
        "driver_version": as_text(pynvml.nvmlSystemGetDriverVersion()),
        "nvml_version": as_text(pynvml.nvmlSystemGetNVMLVersion()),
        "cuda_version": cuda,
        "library": find_library(),
    }


def find_library() -> str | None:
    """Return the file that NVML was loaded from."""
    with open("/proc/self/maps") as maps:  # noqa: PTH123  # importing pathlib takes memory
        match = re.search(r"\s(/\S*/libnvidia-ml\.so\S*)", maps.read())
    return match.group(1) if match else None


def main() -> None:
    """Answer requests until the agent is gone."""
    global _output
    _output = os.dup(1)
    os.dup2(2, 1)
    gc.freeze()  # modules stay: collections can skip them
    driver = initialise_nvml()
    send({"driver": driver})
    if driver["state"] != "ok":
        return
    events, peers = XidEvents(), GpuPeers()
    workers: dict[str, GpuWorker] = {}
    for line in sys.stdin:
        request: SampleRequest = json.loads(line)
        for address in request["gpus"]:
            if address not in workers:
                workers[address] = GpuWorker(address, events, peers)
            workers[address].ask(request["sample"], request["throughput"])
        events.request()


if __name__ == "__main__":
    main()
    os._exit(0)  # a thread that hangs must not keep the process alive

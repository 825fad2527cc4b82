"""The mining pool that the lab's miners connect to: it accepts connections and sends nothing."""

from __future__ import annotations

import errno
import threading
from socketserver import BaseRequestHandler, ThreadingTCPServer

#: Part of each flavour's files (lab/flavours), so that it is the same for all rigs.
ADDRESS = ("127.0.77.250", 4444)


class _Connection(BaseRequestHandler):
    """Reads until the miner closes its end."""

    def handle(self) -> None:
        try:
            while self.request.recv(4096):
                pass
        except OSError:
            return


class _Server(ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64


class Pool:
    """A pool in a thread. It takes over the address when another test run on this machine ends."""

    def __init__(self) -> None:
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while not self._closed.is_set():
            try:
                server = _Server(ADDRESS, _Connection)
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                self._closed.wait(0.2)
                continue
            with server:
                threading.Thread(target=server.serve_forever, daemon=True).start()
                self._closed.wait()
                server.shutdown()

    def close(self) -> None:
        """Stop to listen."""
        self._closed.set()
        self._thread.join()

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
    """A pool in a thread, unless another test run on this machine has opened it already."""

    def __init__(self) -> None:
        self._server: _Server | None = None
        try:
            self._server = _Server(ADDRESS, _Connection)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
        else:
            threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop to listen."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

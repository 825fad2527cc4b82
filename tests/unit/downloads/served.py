"""A server of files on this machine's loopback, which notes what it is asked for."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class FileServer:
    """Its address, what it has, and what it was asked for.

    cuts: after how many bytes the next answers end. ignores_ranges: it sends whole files always.
    """

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    statuses: dict[str, list[int]] = field(default_factory=dict)
    cuts: list[int] = field(default_factory=list)
    requests: list[tuple[str, str]] = field(default_factory=list)
    ignores_ranges: bool = False
    gate: threading.Event = field(default_factory=threading.Event)


def _make_handler(state: FileServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range", "")
            state.requests.append((self.path, wanted))
            if planned := state.statuses.get(self.path):
                self.send_error(planned.pop(0))
                return
            if target := state.redirects.get(self.path):
                self.send_response(302)
                self.send_header("Location", target)
                self.end_headers()
                return
            content = state.files.get(self.path)
            if content is None:
                self.send_error(404)
                return
            first = 0
            if wanted and not state.ignores_ranges:
                first = int(wanted.removeprefix("bytes=").rstrip("-"))
                if first >= len(content):
                    self.send_error(416)
                    return
                self.send_response(206)
                self.send_header(
                    "Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}"
                )
            else:
                self.send_response(200)
            self.send_header("Content-Length", str(len(content) - first))
            self.end_headers()
            part = content[first:]
            if state.cuts:
                part = part[: state.cuts.pop(0)]
            half = len(part) // 2
            self.wfile.write(part[:half])
            self.wfile.flush()
            state.gate.wait(10)
            self.wfile.write(part[half:])

        def log_message(self, *words: object) -> None:
            """Log nothing."""

    return Handler


@contextlib.contextmanager
def serve_files() -> Iterator[FileServer]:
    """Serve until the end of the block. The gate is open: clear it to hold answers half-way."""
    state = FileServer()
    state.gate.set()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _make_handler(state))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield state
    finally:
        state.gate.set()
        server.shutdown()
        thread.join()
        server.server_close()

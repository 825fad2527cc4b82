"""A server that serves the page's files, documents and headers like the agent."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.page import documents

FOLDER = Path(__file__).parents[2] / "agent" / "web" / "page"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".yaml": "application/yaml; charset=utf-8",
}


@dataclass
class Agent:
    """The content that is served; a test changes it while the page is open.

    old: seconds since the rig was sampled. status: the API's HTTP status. prefix: of all paths, as
    behind a proxy. asked: the paths that were asked for.
    """

    rig: documents.Document = field(default_factory=documents.rig)
    history: documents.Document = field(default_factory=documents.history)
    old: float = 0.0
    status: int = 200
    prefix: str = ""
    url: str = ""
    asked: list[str] = field(default_factory=list)

    def answer(self, path: str) -> tuple[int, str, bytes]:
        """(HTTP status, media type, content) of a path."""
        self.asked.append(path)
        if not path.startswith(f"{self.prefix}/"):
            return 404, "text/plain", b"not found"
        path = path.removeprefix(self.prefix)
        now = time.time()
        if path in ("/api/v1/rig", "/api/v1/history"):
            if self.status != HTTPStatus.OK:
                return self.status, "text/plain", b"no sample yet"
            document = (
                documents.shift_times(self.rig, now - self.old)
                if path.endswith("rig")
                else documents.shift_times(self.history, now)
            )
            return 200, "application/json", json.dumps(document).encode()
        name = "index.html" if path == "/" else path.removeprefix("/page/")
        file = FOLDER / name
        if "/" in name or not file.is_file():
            return 404, "text/plain", b"not found"
        return 200, TYPES[file.suffix], file.read_bytes()


@contextmanager
def serve(agent: Agent) -> Iterator[Agent]:
    """Serve it on a free port of 127.0.0.1 until the block ends; sets agent.url."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, kind, content = agent.answer(self.path.split("?")[0])
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Content-Security-Policy", POLICY)
            self.send_header("X-Content-Type-Options", "nosniff")
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    agent.url = f"http://127.0.0.1:{server.server_address[1]}{agent.prefix}/"
    try:
        yield agent
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

"""The vendor's repository for one rig, over HTTP, with that rig's faults."""

from __future__ import annotations

import io
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from lab.rigs.machine import VENDOR_PORT, Rig
from lab.simulate import faults

INDEX = {"Packages", "Packages.gz", "Release", "Release.gpg", "InRelease"}
#: Which index is served while a fault is on.
VARIANTS = {
    "repo-badsig": "badsig",
    "repo-old": "old",
    "repo-new": "new",
    "repo-next": "next",
}
#: Where the repository is: at a short path, and at those of the vendor's.
ROOTS = ("cuda/", *(f"compute/cuda/repos/{name}/x86_64/" for name in ("debian12", "debian13")))
#: Repositories of third parties, each with a fixed index.
THIRD_PARTIES = {"unknown-key/": "badsig", "expired-key/": "expired", "sha1-key/": "sha1"}


class RepositoryServer:
    """Serves the rig's vendor URL, and refuses connections while the repository is down."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Start to serve, in a thread."""
        self.thread.start()

    def stop(self) -> None:
        """Stop to serve."""
        self.ended.set()
        self.thread.join(timeout=3)

    def _run(self) -> None:
        address = (urlsplit(self.rig.vendor_url).hostname or "", VENDOR_PORT)
        while not self.ended.is_set():
            if faults.is_on(self.rig, "repo-down"):
                self.ended.wait(0.1)
                continue
            with ThreadingHTTPServer(address, partial(Handler, self.rig)) as server:
                server.timeout = 0.1
                while not self.ended.is_set() and not faults.is_on(self.rig, "repo-down"):
                    server.handle_request()


class Handler(SimpleHTTPRequestHandler):
    """Serves the files of the repository; the rig's faults choose the index."""

    def __init__(self, rig: Rig, *args: object) -> None:
        self.rig = rig
        super().__init__(*args)  # type: ignore[arg-type]

    def translate_path(self, path: str) -> str:
        """Map a path of the URL to a file."""
        folder = Path(self.rig.settings()["repository"])
        asked = unquote(urlsplit(path).path).lstrip("/")
        root = next((root for root in (*ROOTS, *THIRD_PARTIES) if asked.startswith(root)), None)
        if root is None or ".." in asked:
            return str(folder / "none")
        name = asked.removeprefix(root).removeprefix("./").strip("/")
        if root in THIRD_PARTIES:
            return str(folder / THIRD_PARTIES[root] / name)
        if name in INDEX:
            on = faults.read(self.rig)
            variant = next((VARIANTS[fault] for fault in VARIANTS if fault in on), "full")
            return str(folder / variant / name)
        return str(folder / name)

    def send_head(self) -> io.BytesIO | BinaryIO | None:
        """Answer in full always, because all indexes have the same time."""
        del self.headers["If-Modified-Since"]
        return super().send_head()

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing, because the log is the rig's console."""

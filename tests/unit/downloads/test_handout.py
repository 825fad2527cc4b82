"""Files that a rig gets through its SSH connection; what a hostile rig does not get."""

from __future__ import annotations

import hashlib
import http.client
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from provision.downloads import handout
from provision.downloads.handout import Handout
from provision.downloads.sources import Sources
from provision.downloads.store import Store
from tests.unit.downloads.served import FileServer

CONTENT = b"0123456789" * 50_000
DIGEST = hashlib.sha256(CONTENT).hexdigest()
PROGRAM = Path(__file__).parents[3] / "playbooks/files/fetch_ahead.py"


class ForwardedPort:
    """What sshd does with a forwarded port: each connection goes to the handout as a channel."""

    def __init__(self, accept: Handout) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port = self.listening.getsockname()[1]
        self.thread = threading.Thread(target=self._run, args=(accept,))
        self.thread.start()

    def _run(self, accept: Handout) -> None:
        while True:
            try:
                peer, _ = self.listening.accept()
            except OSError:
                return
            accept.accept(peer, None, None)  # type: ignore[arg-type]

    def close(self) -> None:
        self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()
        self.thread.join()


@pytest.fixture
def given(tmp_path: Path, sources: Sources) -> Handout:
    return Handout(Store(tmp_path / "downloads"), sources, "secret-token")


@pytest.fixture
def port(given: Handout) -> Iterator[int]:
    forwarded = ForwardedPort(given)
    yield forwarded.port
    forwarded.close()


def get(port: int, path: str, **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    status, body = answer.status, answer.read()
    connection.close()
    return status, body


def wait_until(condition: Callable[[], bool], seconds: float = 10) -> None:
    """Wait: what is counted after the last byte comes after the client has it."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def path_of(server: FileServer, url: str = "", token: str = "secret-token", size: int = 0) -> str:
    server.files["/pool/a.deb"] = CONTENT
    return f"/{token}/{DIGEST}?size={size}&url={quote(url or f'{server.url}/pool/a.deb', safe='')}"


def test_file_is_handed_out(port: int, given: Handout, server: FileServer) -> None:
    path = path_of(server)
    assert get(port, path) == (200, CONTENT)
    assert get(port, path, Range="bytes=499990-") == (206, CONTENT[499990:])
    assert get(port, path, Range="bytes=500000-")[0] == 416
    assert len(server.requests) == 1
    wait_until(lambda: given.sent == len(CONTENT) + 10)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        f"/{DIGEST}",
        f"/other-token/{DIGEST}",
        f"/secret-token/{DIGEST.upper()}",
        f"/secret-token/{DIGEST[1:]}",
        "/secret-token/../../etc/passwd",
        f"/secret-token/x/{DIGEST}",
        "/secret-token/" + "0" * 60_000,
    ],
)
def test_without_token_and_hash_nothing_is_fetched(
    port: int, server: FileServer, path: str
) -> None:
    query = path_of(server).partition("?")[2]
    assert get(port, f"{path}?{query}")[0] in (403, 414)
    assert server.requests == []


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "{url}/private", "http://127.0.0.1:22/pool/a", "{url}/pool/../private"],
)
def test_hostile_rig_chooses_no_url(
    port: int, given: Handout, server: FileServer, url: str
) -> None:
    server.files["/private"] = CONTENT
    status, body = get(port, path_of(server, url.format(url=server.url)))
    assert (status, CONTENT[:20] in body) == (404, False)
    assert server.requests == []
    assert given.refused


@pytest.mark.parametrize("words", ["size=-1", "size=x", "size=" + "9" * 30])
def test_size_is_a_number(port: int, server: FileServer, words: str) -> None:
    path = path_of(server).replace("size=0", words)
    assert get(port, path)[0] == 400
    assert server.requests == []


@pytest.mark.parametrize("wanted", ["bytes=-5", "bytes=1-2", "bytes=x-", "items=1-"])
def test_other_ranges_are_refused(port: int, server: FileServer, wanted: str) -> None:
    assert get(port, path_of(server), Range=wanted)[0] == 400


def test_file_that_cannot_be_fetched_has_its_reason(
    port: int, given: Handout, server: FileServer
) -> None:
    assert get(port, path_of(server, f"{server.url}/pool/none"))[0] == 404
    assert "404" in given.refused[0]


def test_requests_of_a_rig_are_bounded(
    port: int, server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handout, "MOST_FILES", 2)
    path = path_of(server)
    assert [get(port, path)[0] for _ in range(2)] == [200, 200]
    with pytest.raises((http.client.HTTPException, OSError)):
        get(port, path)


def test_connections_at_once_are_bounded(port: int, server: FileServer) -> None:
    idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(handout.AT_ONCE)]
    with pytest.raises((http.client.HTTPException, OSError)):
        get(port, path_of(server))
    for connection in idle:
        connection.close()


def take(port: int, folder: Path, server: FileServer, *names: str) -> str:
    """Let the rig's program take wheels of the server; return what it prints."""
    rows = []
    for name in names:
        content = server.files[f"/pool/{name}"]
        rows.append([f"{server.url}/pool/{name}", name, 0, hashlib.sha256(content).hexdigest()])
    program = (
        "import importlib.util, json, pathlib, sys\n"
        "spec = importlib.util.spec_from_file_location('fetch_ahead', sys.argv[1])\n"
        "module = importlib.util.module_from_spec(spec)\n"
        "sys.modules['fetch_ahead'] = module\n"
        "spec.loader.exec_module(module)\n"
        "wanted = [module.Wanted(*row) for row in json.loads(sys.argv[2])]\n"
        "module.take_all(wanted, pathlib.Path(sys.argv[3]), sys.argv[4], False)\n"
    )
    words = [str(PROGRAM), json.dumps(rows), str(folder), f"http://127.0.0.1:{port}/secret-token"]
    done = subprocess.run(
        [sys.executable, "-c", program, *words], capture_output=True, text=True, check=True
    )
    return done.stdout


def test_rigs_program_takes_files(port: int, server: FileServer, tmp_path: Path) -> None:
    server.files = {f"/pool/{number}.whl": CONTENT[number:] for number in range(5)}
    printed = take(port, tmp_path / "rig", server, *(f"{number}.whl" for number in range(5)))
    assert printed.count(": from the operator's machine") == 5
    for number in range(5):
        assert (tmp_path / f"rig/{number}.whl").read_bytes() == CONTENT[number:]
    assert not list((tmp_path / "rig").glob("*.part"))


@pytest.mark.parametrize("left", [CONTENT[:1000], CONTENT, b"x" * 1000, CONTENT + b"more"])
def test_rigs_program_continues_what_a_reboot_cut_off(
    port: int, given: Handout, server: FileServer, tmp_path: Path, left: bytes
) -> None:
    server.files["/pool/a.whl"] = CONTENT
    folder = tmp_path / "rig"
    folder.mkdir()
    (folder / "a.whl.part").write_bytes(left)
    take(port, folder, server, "a.whl")
    if left == b"x" * 1000:  # what was here was wrong, and is gone
        assert not list(folder.iterdir())
        take(port, folder, server, "a.whl")
    assert (folder / "a.whl").read_bytes() == CONTENT
    if left == CONTENT[:1000]:
        wait_until(lambda: given.sent == len(CONTENT) - 1000)


def test_rigs_program_keeps_no_wrong_file(
    port: int, server: FileServer, tmp_path: Path, given: Handout
) -> None:
    server.files["/pool/a.whl"] = CONTENT
    take(port, tmp_path / "first", server, "a.whl")
    # The file of this machine is damaged after its hash was checked.
    (given.store.folder / DIGEST).write_bytes(b"?" + CONTENT[1:])
    printed = take(port, tmp_path / "rig", server, "a.whl")
    assert "it has another SHA-256" in printed
    assert not list((tmp_path / "rig").iterdir())

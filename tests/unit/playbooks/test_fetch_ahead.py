"""Python packages that are fetched before the step that installs them."""

from __future__ import annotations

import fcntl
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.unit.playbooks.pip_environment import Environment, write_index, write_wheel

pytestmark = pytest.mark.slow


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """An index behind HTTP: its URL, and the paths that were asked for."""
    asked: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *words: object) -> None:
            asked.append(self.path)

    lock = write_wheel(tmp_path / "served")
    (tmp_path / "lock").write_text(lock)
    page = tmp_path / "served/simple/gear/index.html"
    page.parent.mkdir(parents=True)
    page.write_text('<a href="../../gear-1.0-py3-none-any.whl">gear-1.0-py3-none-any.whl</a>')
    handler = partial(Handler, directory=str(tmp_path / "served"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/simple", asked
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("hashes", [True, False], ids=["lock", "name"])
def test_what_is_fetched_ahead_is_not_fetched_again(
    environment: Environment, served: tuple[str, list[str]], hashes: bool
) -> None:
    url, asked = served
    environment.set_pip(f"[global]\nindex-url = {url}\n")
    what = ("--require-hashes", "-r", environment.folder / "lock") if hashes else ("gear==1.0",)
    done = environment.run("fetch", "--no-compile", *what)
    assert done.returncode == 0, done.stdout
    assert not environment.has("gear", "1.0")
    assert [path for path in asked if path.endswith(".whl")]
    asked.clear()
    done = environment.run("install", "--no-compile", *what)
    assert (done.returncode, "instead of uv" in done.stdout) == (0, False), done.stdout
    assert environment.has("gear", "1.0")
    assert not [path for path in asked if path.endswith(".whl")]
    assert not list((environment.folder / "cache").rglob("gear*"))


def test_what_cannot_be_fetched_is_named(environment: Environment) -> None:
    done = environment.run("fetch", "gear==1.0")
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1].startswith("not fetched: uv failed")


def test_fetch_that_was_cut_off_leaves_nothing(environment: Environment) -> None:
    write_wheel(environment.wheels)
    environment.set_pip(f"[global]\nno-index = true\nfind-links = {environment.wheels}\n")
    left = environment.folder / "cache/ahead/gear.py"
    left.parent.mkdir(parents=True)
    left.write_text("")
    assert environment.run("install", "gear").returncode == 0
    assert not left.parent.exists()


def test_few_wheels_come_at_once(recorded: Environment) -> None:
    """A reboot ends the fetch, and what is half here is lost."""
    assert recorded.run("fetch", "gear").returncode == 0
    words, given = recorded.record()
    assert given["UV_CONCURRENT_DOWNLOADS"] == "2"
    assert words[-1] == "gear"


def test_wheels_are_listed_with_their_addresses(
    environment: Environment, served: tuple[str, list[str]]
) -> None:
    url, _ = served
    environment.set_pip(f"[global]\nindex-url = {url}\nproxy =\ncert = /etc/certs\n")
    lock = (environment.folder / "lock").read_text()
    done = environment.run("list-files", "--require-hashes", "-r", environment.folder / "lock")
    digest = lock.partition("sha256:")[2].strip()
    address = f"{url.removesuffix('/simple')}/gear-1.0-py3-none-any.whl"
    assert done.stdout.splitlines() == ["SSL_CERT_FILE=/etc/certs", f"{digest} 0 {address}"]


@pytest.mark.parametrize("hashes", [True, False], ids=["lock", "name"])
def test_wheels_that_are_here_come_before_all_indexes(
    environment: Environment, hashes: bool
) -> None:
    """The index that fetch_ahead.py fills; an installation deletes its wheels."""
    index = environment.folder / "cache/index"
    (environment.folder / "lock").write_text(write_wheel(index / "files"))
    digest = (environment.folder / "lock").read_text().partition("sha256:")[2].strip()
    page = index / "simple/gear/index.html"
    page.parent.mkdir(parents=True)
    name = "gear-1.0-py3-none-any.whl"
    page.write_text(f'<a href="../../files/{name}#sha256={digest}">{name}</a>')
    write_wheel(environment.folder / "others", "other")
    elsewhere = write_index(environment.folder / "elsewhere", environment.folder / "others")
    environment.set_pip(f"[global]\nindex-url = {elsewhere}\n")
    what = ("--require-hashes", "-r", environment.folder / "lock") if hashes else ("gear==1.0",)
    for command in ("fetch", "install"):
        done = environment.run(command, "--no-compile", *what)
        assert (done.returncode, "instead of uv" in done.stdout) == (0, False), done.stdout
    assert environment.has("gear", "1.0")
    assert not list(index.rglob("gear*"))


def test_scratch_of_a_fetch_that_runs_stays(environment: Environment) -> None:
    write_wheel(environment.wheels)
    environment.set_pip(f"[global]\nno-index = true\nfind-links = {environment.wheels}\n")
    scratch = environment.folder / "cache/ahead/other.py"
    scratch.parent.mkdir(parents=True)
    scratch.write_text("")
    with (environment.folder / "cache/ahead.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert environment.run("install", "gear").returncode == 0
    assert scratch.exists()

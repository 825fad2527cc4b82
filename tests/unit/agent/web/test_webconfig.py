"""--web.config.file: passwords, invalid files, and files that change."""

from __future__ import annotations

import base64
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import bcrypt
import pytest
import yaml

from agent.errors import ConfigurationError
from agent.web.app import AgentApp
from agent.web.limits import ClientLimits
from agent.web.web_config import WebConfigFile, load_web_config
from tests.unit.agent.web.certificates import Authority, replace
from tests.unit.agent.web.publishing import publish_sample
from tests.unit.agent.web.server import Server, serve_application
from tests.unit.agent.web.test_app import OTHERS, make_app

CASES = yaml.safe_load((Path(__file__).parent / "cases/webconfig.yml").read_text())
COST = 4  # bcrypt's least: these tests are of the way to it


def hash_password(password: str, cost: int = COST) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(cost)).decode()


def basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def users(file: Path, **passwords: str) -> Path:
    lines = [f"  {name}: {hash_password(password)}\n" for name, password in passwords.items()]
    replace(file, "".join(["basic_auth_users:\n", *lines]).encode())
    return file


def application(file: Path) -> AgentApp:
    made = make_app(web=WebConfigFile(file))
    made.publish(publish_sample())
    return made


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the files that the cases name."""
    folder = tmp_path_factory.mktemp("web")
    authority = Authority.create(folder, "authority")
    authority.sign("server", folder / "server.pem", folder / "server.key")
    authority.sign("other", folder / "other.pem", folder / "other.key")
    authority.sign("other", folder / "x.pem", folder / "encrypted.key", b"password")
    (folder / "empty").touch()
    (folder / "binary").write_bytes(bytes(range(256)))
    return folder


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["error"][:60])
def test_invalid_file_is_a_one_line_error(case: Any, files: Path) -> None:
    file = files / "web.yml"
    file.write_text(case["content"].replace("{hash}", hash_password("x")))
    with pytest.raises(ConfigurationError) as caught:
        WebConfigFile(file)
    text = str(caught.value)
    assert text.startswith(f"{file}{case['error'].replace('{folder}', str(files))}")
    assert "\n" not in text
    assert not text.endswith((" ", ":", "None"))


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_missing_or_binary_file_is_an_error(content: bytes | None, tmp_path: Path) -> None:
    file = tmp_path / "web.yml"
    if content:
        file.write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        load_web_config(file)
    assert (
        str(caught.value)
        == f"{file}: {'not a text file' if content else 'No such file or directory'}"
    )


def test_empty_file_requires_no_password(tmp_path: Path) -> None:
    (tmp_path / "web.yml").touch()
    with serve_application(application(tmp_path / "web.yml")) as server:
        assert server.ask("/metrics").status == 200


@pytest.fixture
def guarded(tmp_path: Path) -> Any:
    """A server that accepts ann and bob; the test may change the file."""
    users(tmp_path / "web.yml", ann="right", bob="ünïcode:with colon")
    with serve_application(application(tmp_path / "web.yml")) as server:
        yield server


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        (basic("ann", "right"), 200),
        (basic("ann", "right").replace("Basic", "bAsIc"), 200),
        (basic("bob", "ünïcode:with colon"), 200),
        (basic("ann", "wrong"), 401),
        (basic("ann", ""), 401),
        (basic("ann", "right "), 401),
        (basic("ann", "right" + "x" * 100), 401),
        (basic("ann", "right\0"), 401),
        (basic("bob", "right"), 401),
        (basic("eve", "right"), 401),
        (basic("", ""), 401),
        ("Basic " + base64.b64encode(b"ann").decode(), 401),
        ("Basic " + base64.b64encode(b"\xff:right").decode(), 401),
        ("Basic not base 64!", 401),
        ("Basic", 401),
        ("Bearer " + base64.b64encode(b"ann:right").decode(), 401),
        ("", 401),
    ],
)
def test_credentials_decide_about_the_status(
    guarded: Server, authorization: str, status: int
) -> None:
    """Two requests: the first calls bcrypt, the second may use the cache."""
    client = guarded.connect()
    for _ in range(2):
        answer = client.ask("/metrics", authorization=authorization)
        assert answer.status == status
        if status == 401:
            assert answer.headers["www-authenticate"] == 'Basic realm="deeprig-agent"'
            assert b"classic" not in answer.body


@pytest.mark.parametrize("target", [*OTHERS, "/page/page.js", "/nothing"])
def test_every_path_requires_a_password(guarded: Server, target: str) -> None:
    """This includes health, as in exporter-toolkit, and unknown paths."""
    assert guarded.ask(target).status == 401
    assert guarded.ask(target, "POST").status == 401
    right = guarded.ask(target, authorization=basic("ann", "right")).status
    assert right == (404 if target == "/nothing" else 200)


def test_accepted_password_is_checked_once(
    guarded: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, real = [], bcrypt.checkpw

    def count_check(password: bytes, password_hash: bytes) -> bool:
        asked.append(password)
        return real(password, password_hash)

    monkeypatch.setattr(bcrypt, "checkpw", count_check)
    for _ in range(5):
        assert guarded.ask("/metrics", authorization=basic("ann", "right")).status == 200
    assert asked == [b"right"]
    for _ in range(2):  # a guess is not remembered as a good one
        assert guarded.ask("/metrics", authorization=basic("ann", "wrong")).status == 401
    assert asked == [b"right", b"wrong", b"wrong"]


def test_accepted_passwords_are_forgotten_when_the_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = users(tmp_path / "web.yml", ann="right")
    asked, real = [], bcrypt.checkpw

    def count_check(password: bytes, password_hash: bytes) -> bool:
        asked.append(password)
        return real(password, password_hash)

    monkeypatch.setattr(bcrypt, "checkpw", count_check)
    with serve_application(application(file)) as server:
        for count in (1, 1, 2):  # the file is written again before the last
            if count > len(asked):
                replace(file, file.read_bytes())
            assert server.ask("/metrics", authorization=basic("ann", "right")).status == 200
            assert len(asked) == count


def test_unknown_user_takes_as_long_as_a_wrong_password(
    guarded: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bytes] = []

    def count_check(password: bytes, password_hash: bytes) -> bool:
        asked.append(password_hash)
        return False

    monkeypatch.setattr(bcrypt, "checkpw", count_check)
    guarded.ask("/metrics", authorization=basic("eve", "right"))
    assert len(asked) == 1, "bcrypt runs although no user has that name"


def test_password_checks_do_not_delay_other_requests(
    guarded: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checks run one at a time in a thread; accepted users are answered meanwhile."""
    login = basic("ann", "right")
    assert guarded.ask("/metrics", authorization=login).status == 200
    go_on, at_once, most = threading.Event(), 0, 0

    def slow(password: bytes, password_hash: bytes) -> bool:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        go_on.wait(10)
        at_once -= 1
        return False

    monkeypatch.setattr(bcrypt, "checkpw", slow)
    guessing = [guarded.connect() for _ in range(8)]
    for number, client in enumerate(guessing):
        client.send(
            f"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAuthorization: "
            f"{basic('ann', f'guess {number}')}\r\n\r\n".encode()
        )
    client, began = guarded.connect(), time.monotonic()
    statuses = {client.ask("/metrics", authorization=login).status for _ in range(100)}
    assert (statuses, time.monotonic() - began < 2) == ({200}, True)
    go_on.set()
    checked = ClientLimits().checks_per_address
    answers = Counter(client.answer().status for client in guessing)
    assert answers == {401: checked, 429: len(guessing) - checked}
    assert most == 1


def test_users_can_change_without_a_restart(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = users(tmp_path / "web.yml", ann="right")
    with serve_application(application(file)) as server:

        def ask(name: str, password: str) -> int:
            return server.ask("/metrics", authorization=basic(name, password)).status

        assert (ask("ann", "right"), ask("bob", "his")) == (200, 401)
        users(file, ann="new", bob="his")
        assert (ask("ann", "right"), ask("ann", "new"), ask("bob", "his")) == (401, 200, 200)
        users(file, bob="his")
        assert (ask("ann", "new"), ask("bob", "his")) == (401, 200)
        assert caplog.text == ""
        replace(file, b"basic_auth_users:\n  bob: gone\n")
        assert (ask("ann", "new"), ask("bob", "his"), ask("bob", "his")) == (401, 200, 200)
        assert [record.getMessage() for record in caplog.records] == [
            f"{file}:2: basic_auth_users: bob: expected a bcrypt hash; "
            "the last valid content stays in use"
        ]
        file.unlink()
        assert (ask("bob", "his"), ask("bob", "wrong")) == (200, 401)
        users(file, eve="hers")
        assert (ask("bob", "his"), ask("eve", "hers")) == (401, 200)


def test_configured_headers_are_on_every_answer(tmp_path: Path) -> None:
    file = tmp_path / "web.yml"
    text = (
        "http_server_config:\n  headers:\n    Strict-Transport-Security: max-age=1\n"
        "    Content-Security-Policy: default-src 'self'\n"
    )
    users(file, ann="right")
    with file.open("a") as out:
        out.write(text)
    with serve_application(application(file)) as server:
        for target in ("/metrics", "/", "/nothing"):
            for word in ("right", "wrong"):
                answer = server.ask(target, authorization=basic("ann", word))
                assert answer.headers["strict-transport-security"] == "max-age=1"
                assert answer.headers["content-security-policy"] == "default-src 'self'"
            assert "strict-transport-security" in server.ask(target).headers

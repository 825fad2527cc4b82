"""The Host header: DNS rebinding is refused; scrapers by name or address are answered."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.configuration.host_names import read_configured_names, read_machine_names
from agent.errors import ConfigurationError
from agent.web.allowed_hosts import AllowedHosts
from tests.unit.agent.web.process import running
from tests.unit.agent.web.publishing import publish_sample
from tests.unit.agent.web.server import Server, serve_application
from tests.unit.agent.web.test_app import OTHERS, make_app

OWN = os.uname().nodename


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    app = make_app(hosts=AllowedHosts(["rig", "rig.example.org"]))
    app.publish(publish_sample())
    with serve_application(app) as made:
        yield made


def status(server: Server, request: str) -> int:
    client = server.connect()
    client.send(request.replace("\n", "\r\n").encode() + b"\r\n")
    return client.answer().status


@pytest.mark.parametrize("target", [*OTHERS, "/page/page.js", "/nothing"])
def test_dns_rebinding_is_refused(server: Server, target: str) -> None:
    client = server.connect()
    client.send(f"GET {target} HTTP/1.1\r\nHost: evil.example:10390\r\n\r\n".encode())
    answer = client.answer()
    assert answer.status == 421
    assert answer.body == b"421 Misdirected Request\n"


@pytest.mark.parametrize(
    "host",
    [
        "rig",
        "rig:10390",
        "RIG:10390",
        "rig.example.org",
        "rig.example.org.:10390",
        "localhost:9",
        "127.0.0.1:10390",
        "192.0.2.7",
        "192.0.2.7:10390",
        "[::1]:10390",
        "[2001:db8::1]",
        "rig:",
    ],
)
def test_own_names_and_addresses_are_answered(server: Server, host: str) -> None:
    assert status(server, f"GET /metrics HTTP/1.1\nHost: {host}\n") == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "rig.evil.example",
        "evil.rig",
        "xrig",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "1.2.3",
        "192.0.2.7.example",
        "0x7f000001",
    ],
)
def test_other_names_are_misdirected(server: Server, host: str) -> None:
    assert status(server, f"GET /metrics HTTP/1.1\nHost: {host}:10390\n") == 421


@pytest.mark.parametrize(
    "headers",
    [
        "",
        "Host:\n",
        "Host: rig\nHost: rig\n",
        "Host: rig\nhost: evil.example\n",
        "Host: rig, rig\n",
        "Host: rig rig\n",
        "Host: rig/\n",
        "Host: ann@rig\n",
        "Host: rig:10390:1\n",
        "Host: ::1\n",
        "Host: rig:http\n",
        "Host: [rig]\n",
        "Host: rig\x0b\n",
        "Host: rig?\n",
        "X-Host: rig\n",
    ],
)
def test_a_missing_repeated_or_invalid_host_is_a_bad_request(server: Server, headers: str) -> None:
    assert status(server, f"GET /metrics HTTP/1.1\n{headers}") == 400


def test_http_1_0_needs_no_host(server: Server) -> None:
    """Health checks of load balancers send none; browsers, which rebinding needs, always do."""
    assert status(server, "GET /metrics HTTP/1.0\n") == 200
    assert status(server, "GET /metrics HTTP/2.0\n") == 400
    assert status(server, "GET /metrics HTTP/1.0\nHost: evil.example\n") == 421


@pytest.mark.parametrize(
    ("target", "host", "expected"),
    [
        ("http://rig:10390/metrics", "rig", 200),
        ("http://rig/metrics", "evil.example", 421),
        ("http://evil.example/metrics", "rig", 421),
        ("HTTP://EVIL.example/metrics", "rig", 421),
        ("https://evil.example:10390/metrics", "rig", 421),
        ("ftp://evil.example/metrics", "rig", 421),
        ("http://rig@evil.example/metrics", "rig", 400),
        ("http:///metrics", "rig", 400),
    ],
)
def test_authority_of_an_absolute_target_overrides_the_host_header(
    server: Server, target: str, host: str, expected: int
) -> None:
    assert status(server, f"GET {target} HTTP/1.1\nHost: {host}\n") == expected


def test_trailers_do_not_replace_headers(server: Server) -> None:
    client = server.connect()
    client.send(
        b"POST /metrics HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"1\r\nx\r\n0\r\nHost: rig\r\n\r\n"
    )
    assert client.answer().status == 400


def test_machine_names_come_from_hostname_and_hosts_file(tmp_path: Path) -> None:
    file = tmp_path / "hosts"
    file.write_text(
        f"127.0.0.1 localhost\n127.0.1.1 {OWN}.example.org {OWN} # comment.example\n"
        "192.0.2.9 other other.example\n\n#\n"
    )
    names = read_machine_names(file)
    assert {OWN, f"{OWN}.example.org"} <= names
    assert not names & {"other", "other.example", "comment.example", "127.0.1.1", "localhost"}
    assert OWN in read_machine_names(tmp_path / "missing")


def test_configured_names_are_read(tmp_path: Path) -> None:
    file = tmp_path / "agent.yml"
    file.write_text("gpus: 3\nhost_names: [attic.lan, Rig.example.org.]\n")
    assert read_configured_names(file) == ["attic.lan", "Rig.example.org."]
    file.write_text("gpus: 3\n")
    assert read_configured_names(file) == read_configured_names(None) == []


@pytest.mark.parametrize(
    "value", ["attic", "[3]", "['a b']", "['*']", "['']", "['rig:1']", "{a: 1}"]
)
def test_invalid_names_are_an_error_with_file_and_line(tmp_path: Path, value: str) -> None:
    file = tmp_path / "agent.yml"
    file.write_text(f"gpus: 3\nhost_names: {value}\n")
    with pytest.raises(ConfigurationError) as caught:
        read_configured_names(file)
    assert str(caught.value).startswith(f"{file}:2: 'host_names'")


def test_agent_answers_to_configured_names_only(tmp_path: Path) -> None:
    (tmp_path / "agent.yml").write_text("host_names: [attic.lan]\n")
    with running(tmp_path, flags=[f"--config.file={tmp_path}/agent.yml"]) as agent:

        def ask(host: str) -> int:
            client = agent.connect()
            client.send(f"GET /api/v1/rig HTTP/1.1\r\nHost: {host}:10390\r\n\r\n".encode())
            return client.answer().status

        hosts = ("attic.lan", OWN, "127.0.0.1", "evil.example")
        assert {host: ask(host) for host in hosts} == {
            "attic.lan": 200,
            OWN: 200,
            "127.0.0.1": 200,
            "evil.example": 421,
        }

"""The application: representations of a sample, the page's files, health."""

from __future__ import annotations

import contextlib
import gzip
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httptools
import pytest
import yaml

from agent import tables
from agent.readings.xid import XidCatalogue
from agent.sampling.history import History
from agent.web import app as module
from agent.web.allowed_hosts import AllowedHosts
from agent.web.app import AgentApp
from agent.web.limits import ClientLimits
from agent.web.web_config import WebConfigFile
from tests.unit.agent.web.publishing import OneMetric, encode_classic, encode_new, publish_sample
from tests.unit.agent.web.server import ClientAnswer, serve_application

PAGE = Path(module.__file__).parent / "page"
ACCEPT = yaml.safe_load((Path(__file__).parent / "cases/accept.yml").read_text())
KINDS = {"classic": "text/plain", "openmetrics": "application/openmetrics-text"}
TEXTS = {"classic": encode_classic, "openmetrics": encode_new}
OTHERS = ("/api/v1/rig", "/api/v1/history", "/metrics", "/-/healthy", "/-/ready", "/")


def make_app(**more: Any) -> AgentApp:
    settings: dict[str, Any] = {
        "telemetry_path": "/metrics",
        "interval": 5.0,
        "web": WebConfigFile(None),
        "history": History(),
        "catalogue": XidCatalogue(tables.load("xids")),
        "hosts": AllowedHosts(["rig"]),
        "limits": ClientLimits(),
    }
    return AgentApp(**settings | more)


@pytest.fixture
def app() -> AgentApp:
    made = make_app()
    made.publish(publish_sample())
    return made


def get(app: AgentApp, target: str, method: str = "GET", **headers: str) -> ClientAnswer:
    """Call the application as uvicorn does."""
    path = httptools.parse_url(target.encode()).path or b"/"
    named = {"host": "rig"} | headers
    scope = {
        "type": "http",
        "method": method,
        "path": unquote(path.decode()),
        "http_version": "1.1",
        "headers": [
            (name.replace("_", "-").encode(), text.encode()) for name, text in named.items()
        ],
        "client": ("192.0.2.1", 50000),
        "state": {"target": target},
    }
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    with contextlib.suppress(StopIteration):  # nothing waits: no event loop is needed
        app(scope, receive, send).send(None)
    start, body = sent
    assert (start["type"], body["type"]) == ("http.response.start", "http.response.body")
    received = {name.decode(): text.decode() for name, text in start["headers"]}
    return ClientAnswer(start["status"], received, body["body"])


@pytest.mark.parametrize("case", ACCEPT, ids=lambda case: case["who"])
def test_format_follows_the_accept_header(app: AgentApp, case: Any) -> None:
    answer = get(app, "/metrics", accept=case["accept"])
    assert answer.headers["content-type"].partition(";")[0] == KINDS[case["gets"]]
    assert "; charset=utf-8" in answer.headers["content-type"]
    assert answer.body == TEXTS[case["gets"]]()
    assert "Accept" in answer.headers["vary"]


@pytest.mark.parametrize(
    ("accepts", "compressed"),
    [
        ("gzip", True),
        ("gzip, deflate, br", True),
        ("deflate, GZIP;q=0.5", True),
        ("", False),
        ("identity", False),
        ("gzip;q=0", False),
        ("br", False),
        ("gzip;q=nonsense", False),
    ],
)
@pytest.mark.parametrize("target", ["/metrics", "/api/v1/rig", "/api/v1/history"])
def test_gzip_follows_the_accept_encoding_header(
    app: AgentApp, target: str, accepts: str, compressed: bool
) -> None:
    answer = get(app, target, accept_encoding=accepts)
    assert (answer.headers.get("content-encoding") == "gzip") is compressed
    plain = get(app, target).body
    assert (gzip.decompress(answer.body) if compressed else answer.body) == plain
    assert "Accept-Encoding" in answer.headers["vary"]


def test_each_format_of_a_sample_is_rendered_once(app: AgentApp) -> None:
    for name in ("second", "third"):
        metrics = OneMetric(name)
        app.publish(replace(publish_sample(), metrics=metrics))
        for _ in range(3):
            assert get(app, "/metrics").body == encode_classic(name)
            assert get(app, "/metrics", accept="application/openmetrics-text").body == encode_new(
                name
            )
        assert metrics.collected == 2


def test_every_representation_is_built_once_per_sample(
    app: AgentApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    for place, name in ((gzip, "compress"), (json, "dumps"), (module, "build_document")):
        real = getattr(place, name)

        def counted(*words: Any, _name: str = name, _real: Any = real, **more: Any) -> Any:
            calls.append(_name)
            return _real(*words, **more)

        monkeypatch.setattr(place, name, counted)
    for _ in range(3):
        for encoding in ("", "gzip"):
            get(app, "/metrics", accept_encoding=encoding)
            get(app, "/metrics", accept="application/openmetrics-text", accept_encoding="gzip")
            get(app, "/api/v1/rig", accept_encoding=encoding)
    assert Counter(calls) == {"compress": 3, "build_document": 1, "dumps": 1}
    app.publish(publish_sample("second"))
    answer = get(app, "/metrics", accept_encoding="gzip")
    assert gzip.decompress(answer.body).startswith(b"# HELP second ")


@pytest.mark.parametrize("file", sorted(PAGE.iterdir()), ids=lambda file: file.name)
def test_every_file_of_the_page_is_served(app: AgentApp, file: Path) -> None:
    answer = get(app, f"/page/{file.name}")
    assert (answer.status, answer.body) == (200, file.read_bytes())
    kind = {
        ".js": "text/javascript",
        ".css": "text/css",
        ".html": "text/html",
        ".yaml": "application/yaml",
    }[file.suffix]
    assert answer.headers["content-type"].partition(";")[0] == kind


def test_content_security_policy_allows_only_own_files(app: AgentApp) -> None:
    answer = get(app, "/")
    assert answer.body == (PAGE / "index.html").read_bytes()
    policy = dict(
        part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";")
    )
    assert policy.pop("default-src") == "'none'"
    assert policy.pop("img-src") == "'self' data:"
    assert {name: policy.pop(name) for name in ("script-src", "style-src", "connect-src")} == (
        dict.fromkeys(("script-src", "style-src", "connect-src"), "'self'")
    )
    assert set(policy.values()) == {"'none'"}
    assert {"base-uri", "form-action", "frame-ancestors"} == set(policy)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize(
    "target",
    [
        "/page",
        "/page/",
        "/page/../app.py",
        "/page/..%2fexporter.py",
        "/page/%2e%2e/http.py",
        "/page//page.js",
        "/page/./page.js",
        "/page/page.js/",
        "/page/PAGE.JS",
        "/page/../../etc/passwd",
        "/page/\\..\\http.py",
        "/page//etc/passwd",
        "/page/page.js%00.html",
        "//page/page.js",
        "/app.py",
        "/..",
        "/metrics/",
        "/METRICS",
        "/api",
        "/api/v1/",
        "/-/",
        "*",
        "http://rig/page/../http.py",
    ],
)
def test_unknown_path_is_404(app: AgentApp, target: str) -> None:
    assert get(app, target).status == 404


@pytest.mark.parametrize("target", ["/metrics?x=1", "/?x", "http://rig:10390/metrics"])
def test_query_and_absolute_target_are_ignored(app: AgentApp, target: str) -> None:
    assert get(app, target).status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])
@pytest.mark.parametrize("target", [*OTHERS, "/page/page.js", "/nothing"])
def test_other_methods_are_405(app: AgentApp, method: str, target: str) -> None:
    answer = get(app, target, method)
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


def test_telemetry_path_is_configurable() -> None:
    app = make_app(telemetry_path="/gpu/metrics")
    app.publish(publish_sample())
    assert get(app, "/gpu/metrics").status == 200
    assert get(app, "/metrics").status == 404


def test_cache_control_depends_on_the_path(app: AgentApp) -> None:
    assert get(app, "/api/v1/rig").headers["cache-control"] == "no-store"
    assert get(app, "/page/page.js").headers["cache-control"] == "no-cache"


def test_api_is_unavailable_before_the_first_sample() -> None:
    app = make_app()
    statuses = {target: get(app, target).status for target in OTHERS}
    without = dict.fromkeys(("/api/v1/rig", "/api/v1/history", "/metrics", "/-/ready"), 503)
    assert statuses == without | {"/-/healthy": 200, "/": 200}
    app.publish(publish_sample())
    assert {get(app, target).status for target in OTHERS} == {200}


@pytest.mark.parametrize("samples", [0, 3])
def test_healthy_only_while_samples_arrive(samples: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five intervals without a sample, also since the start, are too many."""
    now = 1000.0
    monkeypatch.setattr(module, "monotonic", lambda: now)
    app = make_app(interval=2.0)
    for _ in range(samples):
        now += 2.0
        app.publish(publish_sample())
    now += 9.9
    assert get(app, "/-/healthy").status == 200
    now += 0.2
    answer = get(app, "/-/healthy")
    assert (answer.status, b"10 s" in answer.body) == (503, True)
    assert get(app, "/-/ready").status == (200 if samples else 503)
    app.publish(publish_sample())
    assert get(app, "/-/healthy").status == 200


def test_application_works_over_a_socket(app: AgentApp) -> None:
    with serve_application(app) as server:
        client = server.connect()
        answer = client.ask("/metrics", accept_encoding="gzip")
        assert gzip.decompress(answer.body) == encode_classic()
        assert json.loads(client.ask("/api/v1/rig").body)["host"]["name"] == "rig"
        head = client.ask("/metrics", "HEAD")
        assert head.headers["content-length"] == str(len(encode_classic()))
        assert client.ask("/nothing").status == 404

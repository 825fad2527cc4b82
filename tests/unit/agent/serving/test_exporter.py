"""What is served: forms of a sample, the page's files, health."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent import tables
from agent.readings.xid import Catalogue
from agent.sampling import exposition
from agent.sampling.history import History
from agent.web import exporter as module
from agent.web.exporter import Exporter
from agent.web.hosts import HostNames
from agent.web.http import Request, Response
from agent.web.limits import Limits
from agent.web.webconfig import Watched
from tests.unit.agent.serving.published import published
from tests.unit.agent.serving.server import serving

PAGE = Path(module.__file__).parent / "page"
ACCEPT = yaml.safe_load((Path(__file__).parent / "cases/accept.yml").read_text())
KINDS = {"classic": exposition.CLASSIC, "openmetrics": exposition.OPENMETRICS}
OTHERS = ("/api/v1/rig", "/api/v1/history", "/metrics", "/-/healthy", "/-/ready", "/")


def make(**more: Any) -> Exporter:
    settings: dict[str, Any] = {
        "telemetry_path": "/metrics",
        "interval": 5.0,
        "web": Watched(None),
        "history": History(),
        "catalogue": Catalogue(tables.load("xids")),
        "hosts": HostNames(["rig"]),
        "limits": Limits(),
    }
    return Exporter(**settings | more)


@pytest.fixture
def exporter() -> Exporter:
    made = make()
    made.publish(published())
    return made


def get(exporter: Exporter, target: str, method: str = "GET", **headers: str) -> Response:
    named = {name.replace("_", "-"): text for name, text in ({"host": "rig"} | headers).items()}
    answer = exporter.handle(Request(method, target, headers=named))
    assert isinstance(answer, Response)
    return answer


@pytest.mark.parametrize("case", ACCEPT, ids=lambda case: case["who"])
def test_the_format_is_what_the_client_rather_has(exporter: Exporter, case: Any) -> None:
    answer = get(exporter, "/metrics", accept=case["accept"])
    assert answer.headers["Content-Type"] == KINDS[case["gets"]]
    assert answer.body == getattr(published(), case["gets"])
    assert "Accept" in answer.headers["Vary"]


@pytest.mark.parametrize(
    ("accepts", "compressed"),
    [("gzip", True), ("gzip, deflate, br", True), ("deflate, GZIP;q=0.5", True), ("", False),
     ("identity", False), ("gzip;q=0", False), ("br", False), ("gzip;q=nonsense", False)],
)  # fmt: skip
@pytest.mark.parametrize("target", ["/metrics", "/api/v1/rig", "/api/v1/history"])
def test_gzip_for_who_takes_it(
    exporter: Exporter, target: str, accepts: str, compressed: bool
) -> None:
    answer = get(exporter, target, accept_encoding=accepts)
    assert (answer.headers.get("Content-Encoding") == "gzip") is compressed
    plain = get(exporter, target).body
    assert (gzip.decompress(answer.body) if compressed else answer.body) == plain
    assert "Accept-Encoding" in answer.headers["Vary"]


def test_a_scrape_is_the_bytes_that_were_published(exporter: Exporter) -> None:
    sample = published("second")
    exporter.publish(sample)
    for _ in range(3):
        assert get(exporter, "/metrics").body is sample.classic
        assert (
            get(exporter, "/metrics", accept="application/openmetrics-text").body
            is sample.openmetrics
        )


def test_every_form_is_made_once_a_sample(
    exporter: Exporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    for place, name in ((gzip, "compress"), (json, "dumps"), (module, "document")):
        real = getattr(place, name)

        def counted(*words: Any, _name: str = name, _real: Any = real, **more: Any) -> Any:
            calls.append(_name)
            return _real(*words, **more)

        monkeypatch.setattr(place, name, counted)
    for _ in range(3):
        for encoding in ("", "gzip"):
            get(exporter, "/metrics", accept_encoding=encoding)
            get(exporter, "/metrics", accept="application/openmetrics-text", accept_encoding="gzip")
            get(exporter, "/api/v1/rig", accept_encoding=encoding)
    assert sorted(calls) == ["compress"] * 3 + ["document", "dumps"]
    exporter.publish(published("second"))
    answer = get(exporter, "/metrics", accept_encoding="gzip")
    assert gzip.decompress(answer.body).startswith(b"# second")


@pytest.mark.parametrize("file", sorted(PAGE.iterdir()), ids=lambda file: file.name)
def test_every_file_of_the_page_is_served(exporter: Exporter, file: Path) -> None:
    answer = get(exporter, f"/page/{file.name}")
    assert (answer.status, answer.body) == (200, file.read_bytes())
    kind = {".js": "text/javascript", ".css": "text/css", ".html": "text/html",
            ".yaml": "application/yaml"}[file.suffix]  # fmt: skip
    assert answer.headers["Content-Type"].partition(";")[0] == kind


def test_the_page_may_load_nothing_from_elsewhere(exporter: Exporter) -> None:
    answer = get(exporter, "/")
    assert answer.body == (PAGE / "index.html").read_bytes()
    policy = dict(part.strip().split(" ", 1) for part in
                  answer.headers["Content-Security-Policy"].split(";"))  # fmt: skip
    assert policy.pop("default-src") == "'none'"
    assert policy.pop("img-src") == "'self' data:"
    assert {name: policy.pop(name) for name in ("script-src", "style-src", "connect-src")} == (
        dict.fromkeys(("script-src", "style-src", "connect-src"), "'self'")
    )
    assert set(policy.values()) == {"'none'"}
    assert {"base-uri", "form-action", "frame-ancestors"} == set(policy)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"


@pytest.mark.parametrize(
    "target",
    ["/page", "/page/", "/page/../exporter.py", "/page/..%2fexporter.py", "/page/%2e%2e/http.py",
     "/page//page.js", "/page/./page.js", "/page/page.js/", "/page/PAGE.JS",
     "/page/../../etc/passwd", "/page/\\..\\http.py", "/page//etc/passwd", "/page/page.js%00.html",
     "//page/page.js", "/exporter.py", "/..", "/metrics/", "/METRICS", "/api", "/api/v1/", "/-/",
     "*", "http://rig/page/../http.py"],
)  # fmt: skip
def test_nothing_else_is(exporter: Exporter, target: str) -> None:
    assert get(exporter, target).status == 404


@pytest.mark.parametrize("target", ["/metrics?x=1", "/?x", "http://rig:10390/metrics"])
def test_a_query_or_a_host_changes_nothing(exporter: Exporter, target: str) -> None:
    assert get(exporter, target).status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])
@pytest.mark.parametrize("target", [*OTHERS, "/page/page.js", "/nothing"])
def test_nothing_is_changed_through_it(exporter: Exporter, method: str, target: str) -> None:
    answer = get(exporter, target, method)
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")


def test_another_telemetry_path() -> None:
    exporter = make(telemetry_path="/gpu/metrics")
    exporter.publish(published())
    assert get(exporter, "/gpu/metrics").status == 200
    assert get(exporter, "/metrics").status == 404


def test_what_caches_may_keep(exporter: Exporter) -> None:
    assert get(exporter, "/api/v1/rig").headers["Cache-Control"] == "no-store"
    assert get(exporter, "/page/page.js").headers["Cache-Control"] == "no-cache"


def test_before_the_first_sample() -> None:
    exporter = make()
    statuses = {target: get(exporter, target).status for target in OTHERS}
    without = dict.fromkeys(("/api/v1/rig", "/api/v1/history", "/metrics", "/-/ready"), 503)
    assert statuses == without | {"/-/healthy": 200, "/": 200}
    exporter.publish(published())
    assert {get(exporter, target).status for target in OTHERS} == {200}


@pytest.mark.parametrize("samples", [0, 3])
def test_healthy_while_samples_come(samples: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five intervals without one, be it since the start, are too many."""
    now = 1000.0
    monkeypatch.setattr(module, "monotonic", lambda: now)
    exporter = make(interval=2.0)
    for _ in range(samples):
        now += 2.0
        exporter.publish(published())
    now += 9.9
    assert get(exporter, "/-/healthy").status == 200
    now += 0.2
    answer = get(exporter, "/-/healthy")
    assert (answer.status, b"10 s" in answer.body) == (503, True)
    assert get(exporter, "/-/ready").status == (200 if samples else 503)
    exporter.publish(published())
    assert get(exporter, "/-/healthy").status == 200


def test_over_a_socket(exporter: Exporter) -> None:
    with serving(exporter.handle) as server:
        client = server.connect()
        answer = client.ask("/metrics", accept_encoding="gzip")
        assert gzip.decompress(answer.body) == published().classic
        assert json.loads(client.ask("/api/v1/rig").body)["host"]["name"] == "rig"
        head = client.ask("/metrics", "HEAD")
        assert head.headers["content-length"] == str(len(published().classic))
        assert client.ask("/nothing").status == 404

"""What is served: metrics, the status page, the API, health. All of it is copied, nothing computed
twice: each form of a sample is made at most once."""

from __future__ import annotations

import gzip
import json
import logging
from collections.abc import Callable
from functools import lru_cache
from http import HTTPStatus
from pathlib import Path
from time import monotonic
from typing import Any

from agent.readings.xid import Catalogue
from agent.sampling import exposition
from agent.sampling.history import History
from agent.sampling.sampler import Published, boot_clock
from agent.web.checking import Checker, TooManyChecksError
from agent.web.document import document
from agent.web.hosts import HostNames
from agent.web.http import Answer, Request, Response, error
from agent.web.limits import Limits
from agent.web.passwords import Passwords
from agent.web.webconfig import Watched, WebConfig

PAGE = Path(__file__).parent / "page"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".yaml": "application/yaml",
}
JSON = "application/json"
PLAIN = "text/plain; charset=utf-8"
SECURITY = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
STALE_INTERVALS = 5  # without a sample: no longer healthy
COMPRESSION = 1  # 40 KB in 0.4 ms; level 6 takes four times as long for a tenth less

log = logging.getLogger("deeprig-agent")


class Exporter:
    """Answers requests from what was published last. Lives in the event loop's thread.

    With basic_auth_users set, every path asks for a password, /-/healthy and /-/ready as well: so
    does Prometheus' exporter-toolkit, whose file it is. Its headers are on every answer, too.
    """

    def __init__(
        self,
        *,
        telemetry_path: str,
        interval: float,
        web: Watched,
        history: History,
        catalogue: Catalogue,
        hosts: HostNames,
        limits: Limits,
    ) -> None:
        self._web = web
        self._hosts = hosts
        self._passwords = Passwords()
        self._checker = Checker(limits)
        self._history = history
        self._catalogue = catalogue
        self._stale_seconds = interval * STALE_INTERVALS
        self._published: Published | None = None
        self._published_at = monotonic()  # or, before the first sample, the start
        self._forms: dict[str, bytes] = {}  # of the sample, by name
        self._routes: dict[str, Callable[[Request], Response]] = {
            telemetry_path: self._metrics,
            "/": self._page,
            "/api/v1/rig": lambda request: self._json(request, "rig", self._rig),
            "/api/v1/history": lambda request: self._json(request, "history", self._hour),
            "/-/healthy": self._healthy,
            "/-/ready": self._ready,
        }
        self._files = {
            f"/page/{file.name}": file for file in PAGE.iterdir() if file.suffix in TYPES
        }

    def publish(self, published: Published) -> None:
        """From now on this is the sample."""
        self._published, self._published_at = published, monotonic()
        self._forms = {}
        # Without a request, too: a certificate that ran out lets none come.
        self._refresh_web()

    def handle(self, request: Request) -> Answer:
        """Answer, at once but for a password that was not checked before.

        The host comes first: a page of another site that reaches the agent by DNS rebinding learns
        nothing, and causes no password check.
        """
        self._refresh_web()
        config = self._web.config
        refusal = self._hosts.refuse(request)
        if refusal is not None:
            return with_headers(config, error(refusal))
        if config.users:
            authorization = request.headers.get("authorization", "")
            allowed = self._passwords.recall(config.users, authorization)
            if allowed is None:
                return self._after_check(config, request, authorization)
            if not allowed:
                return with_headers(config, unauthorized())
        return with_headers(config, self._answer(request))

    def _refresh_web(self) -> None:
        before = self._web.config
        problem = self._web.refresh()
        if self._web.config is not before:
            self._passwords.forget()
        if problem is not None:
            log.error("%s; what held before still does", problem)

    async def _after_check(
        self, config: WebConfig, request: Request, authorization: str
    ) -> Response:
        def run() -> bool:
            return self._passwords.check(config.users, authorization)

        # Users that changed meanwhile make another check of the same credentials.
        content = repr(sorted(config.users.items())) + authorization
        try:
            right = await self._checker.check(
                request.client, self._passwords.digest(content.encode()), run
            )
        except TooManyChecksError as refused:
            return with_headers(config, too_many_requests(refused.seconds))
        return with_headers(config, self._answer(request) if right else unauthorized())

    def _answer(self, request: Request) -> Response:
        if request.method not in ("GET", "HEAD"):
            return error(HTTPStatus.METHOD_NOT_ALLOWED, Allow="GET, HEAD")
        path = request.path
        route = self._routes.get(path)
        if route is not None:
            return route(request)
        if path in self._files:
            return self._file(self._files[path])
        return error(HTTPStatus.NOT_FOUND)

    # The routes.

    def _metrics(self, request: Request) -> Response:
        if self._published is None:
            return error(HTTPStatus.SERVICE_UNAVAILABLE)
        if wants_openmetrics(request.headers.get("accept", "")):
            kind, name, body = exposition.OPENMETRICS, "openmetrics", self._published.openmetrics
        else:
            kind, name, body = exposition.CLASSIC, "classic", self._published.classic
        return self._encoded(request, name, lambda: body, kind)

    def _json(self, request: Request, name: str, make: Callable[[], Any]) -> Response:
        if self._published is None:
            return error(HTTPStatus.SERVICE_UNAVAILABLE)

        def body() -> bytes:
            return json.dumps(make(), separators=(",", ":"), allow_nan=False).encode()

        return self._encoded(request, name, body, JSON)

    def _rig(self) -> dict[str, Any]:
        assert self._published is not None
        return document(self._published.sample, self._catalogue)

    def _hour(self) -> dict[str, Any]:
        assert self._published is not None
        return self._history.document(boot_clock(), self._published.sample.taken_at)

    def _page(self, request: Request) -> Response:
        return self._file(PAGE / "index.html")

    def _file(self, file: Path) -> Response:
        try:
            body = file.read_bytes()
        except FileNotFoundError:
            return error(HTTPStatus.NOT_FOUND)
        except OSError:
            return error(HTTPStatus.SERVICE_UNAVAILABLE)
        headers = {"Content-Type": TYPES[file.suffix], "Cache-Control": "no-cache", **SECURITY}
        return Response(body, headers=headers)

    def _healthy(self, request: Request) -> Response:
        """Whether samples come; a rig that is ill is no ill agent."""
        age = monotonic() - self._published_at
        if age > self._stale_seconds:
            text = f"The last sample is {age:.0f} s old.\n"
            if self._published is None:
                text = f"No sample since the start {age:.0f} s ago.\n"
            return Response(text.encode(), HTTPStatus.SERVICE_UNAVAILABLE, {"Content-Type": PLAIN})
        return Response(b"deeprig-agent is healthy.\n", headers={"Content-Type": PLAIN})

    def _ready(self, request: Request) -> Response:
        if self._published is None:
            return error(HTTPStatus.SERVICE_UNAVAILABLE)
        return Response(b"deeprig-agent is ready.\n", headers={"Content-Type": PLAIN})

    def _encoded(
        self, request: Request, name: str, make: Callable[[], bytes], kind: str
    ) -> Response:
        headers = {"Content-Type": kind, "Vary": "Accept, Accept-Encoding"}
        if kind == JSON:
            headers["Cache-Control"] = "no-store"
        body = self._form(name, make)
        if wants_gzip(request.headers.get("accept-encoding", "")):
            headers["Content-Encoding"] = "gzip"
            body = self._form(f"{name}.gz", lambda: gzip.compress(body, COMPRESSION))
        return Response(body, headers=headers)

    def _form(self, name: str, make: Callable[[], bytes]) -> bytes:
        if name not in self._forms:
            self._forms[name] = make()
        return self._forms[name]


def with_headers(config: WebConfig, response: Response) -> Response:
    """An answer with the configured headers."""
    if not config.headers:
        return response
    return Response(response.body, response.status, {**response.headers, **config.headers})


def unauthorized() -> Response:
    """Ask for a name and a password."""
    return error(HTTPStatus.UNAUTHORIZED, **{"WWW-Authenticate": 'Basic realm="deeprig-agent"'})


def too_many_requests(seconds: int) -> Response:
    """Ask a client to come back later."""
    return error(HTTPStatus.TOO_MANY_REQUESTS, **{"Retry-After": str(seconds)})


@lru_cache(maxsize=64)
def wants_openmetrics(accept: str) -> bool:
    """Whether a client rather has OpenMetrics 1.0.0 than the classic text (RFC 9110, 12.5.1).

    >>> wants_openmetrics("application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
    True
    >>> wants_openmetrics("text/plain, */*;q=0.1")
    False
    """
    versions = {"application/openmetrics-text": "1.0.0", "text/plain": "0.0.4"}
    best = dict.fromkeys(versions, 0.0)
    for kind, weight, parameters in accepted(accept):
        if kind in versions and parameters.get("version", versions[kind]) == versions[kind]:
            best[kind] = max(best[kind], weight)
    return best["application/openmetrics-text"] > 0 and (
        best["application/openmetrics-text"] >= best["text/plain"]
    )


@lru_cache(maxsize=64)
def wants_gzip(accept_encoding: str) -> bool:
    """Whether a client takes gzip.

    >>> wants_gzip("deflate, gzip;q=0")
    False
    """
    return any(coding == "gzip" and weight > 0 for coding, weight, _ in accepted(accept_encoding))


def accepted(header: str) -> list[tuple[str, float, dict[str, str]]]:
    """What a header of the Accept family lists: the thing, its weight, its parameters."""
    found = []
    for entry in header.split(","):
        thing, *words = (word.strip() for word in entry.split(";"))
        pairs = (word.partition("=") for word in words)
        parameters = {name.strip().lower(): value.strip().strip('"') for name, _, value in pairs}
        try:
            weight = float(parameters.pop("q", "1"))
        except ValueError:
            weight = 0.0
        found.append((thing.lower(), weight, parameters))
    return found

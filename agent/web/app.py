"""The ASGI application: metrics, the API, the status page, health.

Every form of a sample (a text format, a JSON document, each compressed or not) is made at most
once, when a client first asks for it; every other answer is a copy.
"""

from __future__ import annotations

import gzip
import json
import logging
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from time import monotonic
from typing import Any

from agent.readings.xid import XidCatalogue
from agent.sampling.history import History, HistoryDocument
from agent.sampling.sampler import PublishedSample, read_boot_clock
from agent.web.allowed_hosts import AllowedHosts
from agent.web.api_document import build_document
from agent.web.asgi import Answer, Receive, Scope, Send, answer
from agent.web.limits import ClientLimits
from agent.web.messages import HttpRequest, HttpResponse, error
from agent.web.negotiation import accepts_gzip, choose_format
from agent.web.password_checks import PasswordChecker, TooManyChecksError
from agent.web.passwords import Passwords
from agent.web.web_config import WebConfig, WebConfigFile

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
STALE_INTERVALS = 5  # without a sample: the agent is not healthy any more
COMPRESSION = 1  # 40 KB in 0.4 ms; level 6 takes four times as long to save a tenth

log = logging.getLogger("deeprig-agent")


class AgentApp:
    """Answers requests from the sample that was published last. Not thread-safe.

    With basic_auth_users set, every path asks for a password, /-/healthy and /-/ready as well, as
    in Prometheus' exporter-toolkit. Its headers are on every answer.
    """

    def __init__(
        self,
        *,
        telemetry_path: str,
        interval: float,
        web: WebConfigFile,
        history: History,
        catalogue: XidCatalogue,
        hosts: AllowedHosts,
        limits: ClientLimits,
    ) -> None:
        self._web = web
        self._hosts = hosts
        self._passwords = Passwords()
        self._checker = PasswordChecker(limits)
        self._history = history
        self._catalogue = catalogue
        self._stale_seconds = interval * STALE_INTERVALS
        self._published: PublishedSample | None = None
        self._published_at = monotonic()  # or, before the first sample, the start
        self._forms: dict[str, bytes] = {}  # of the sample, by name
        self._routes: dict[str, Callable[[HttpRequest], HttpResponse]] = {
            telemetry_path: self._answer_metrics,
            "/": self._answer_page,
            "/api/v1/rig": lambda request: self._answer_json(request, "rig", self._build_rig),
            "/api/v1/history": lambda request: self._answer_json(
                request, "history", self._build_history
            ),
            "/-/healthy": self._answer_health,
            "/-/ready": self._answer_readiness,
        }
        self._files = {
            f"/page/{file.name}": file for file in PAGE.iterdir() if file.suffix in TYPES
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""
        await answer(self.handle, scope, receive, send)

    def publish(self, published: PublishedSample) -> None:
        """Serve this sample from now on."""
        self._published, self._published_at = published, monotonic()
        self._forms = {}
        # Also without a request: an expired certificate keeps every request away.
        self._refresh_web()

    def handle(self, request: HttpRequest) -> Answer:
        """Answer at once, unless a new password must be checked.

        The host is checked first: a page of another site that reaches the agent by DNS rebinding
        learns nothing and causes no password check.
        """
        self._refresh_web()
        config = self._web.config
        refusal = self._hosts.refuse(request)
        if refusal is not None:
            return add_headers(config, error(refusal))
        if config.users:
            authorization = request.headers.get("authorization", "")
            allowed = self._passwords.recall(config.users, authorization)
            if allowed is None:
                return self._answer_after_check(config, request, authorization)
            if not allowed:
                return add_headers(config, refuse_unauthorized())
        return add_headers(config, self._answer(request))

    def _refresh_web(self) -> None:
        before = self._web.config
        problem = self._web.refresh()
        if self._web.config is not before:
            self._passwords.forget()
        if problem is not None:
            log.error("%s; the last valid content stays in use", problem)

    async def _answer_after_check(
        self, config: WebConfig, request: HttpRequest, authorization: str
    ) -> HttpResponse:
        def check() -> bool:
            return self._passwords.check(config.users, authorization)

        # If the users change meanwhile, the same credentials are checked again.
        content = repr(sorted(config.users.items())) + authorization
        try:
            is_right = await self._checker.check(
                request.client, self._passwords.digest(content.encode()), check
            )
        except TooManyChecksError as refused:
            return add_headers(config, refuse_too_many(refused.seconds))
        return add_headers(config, self._answer(request) if is_right else refuse_unauthorized())

    def _answer(self, request: HttpRequest) -> HttpResponse:
        if request.method not in ("GET", "HEAD"):
            return error(HTTPStatus.METHOD_NOT_ALLOWED, Allow="GET, HEAD")
        path = request.path
        route = self._routes.get(path)
        if route is not None:
            return route(request)
        if path in self._files:
            return self._answer_file(self._files[path])
        return error(HTTPStatus.NOT_FOUND)

    # Routes.

    def _answer_metrics(self, request: HttpRequest) -> HttpResponse:
        if self._published is None:
            return error(HTTPStatus.SERVICE_UNAVAILABLE)
        encode, kind = choose_format(request.headers.get("accept", ""))
        metrics = self._published.metrics
        return self._encode_answer(request, kind, lambda: encode(metrics), kind)

    def _answer_json(
        self, request: HttpRequest, name: str, build: Callable[[], Any]
    ) -> HttpResponse:
        if self._published is None:
            return error(HTTPStatus.SERVICE_UNAVAILABLE)

        def body() -> bytes:
            return json.dumps(build(), separators=(",", ":"), allow_nan=False).encode()

        return self._encode_answer(request, name, body, JSON)

    def _build_rig(self) -> dict[str, Any]:
        assert self._published is not None
        return build_document(self._published.sample, self._catalogue)

    def _build_history(self) -> HistoryDocument:
        assert self._published is not None
        taken_at = self._published.sample.taken_at
        return self._history.build_document(read_boot_clock(), taken_at)

    def _answer_page(self, request: HttpRequest) -> HttpResponse:
        return self._answer_file(PAGE / "index.html")

    def _answer_file(self, file: Path) -> HttpResponse:
        try:
            body = file.read_bytes()
        except FileNotFoundError:
            return error(HTTPStatus.NOT_FOUND)
        except OSError:
            return error(HTTPStatus.SERVICE_UNAVAILABLE)
        headers = {"Content-Type": TYPES[file.suffix], "Cache-Control": "no-cache", **SECURITY}
        return HttpResponse(body, headers=headers)

    def _answer_health(self, request: HttpRequest) -> HttpResponse:
        """Answer whether samples arrive. Faults of the rig do not make the agent unhealthy."""
        age = monotonic() - self._published_at
        if age > self._stale_seconds:
            text = f"The last sample is {age:.0f} s old.\n"
            if self._published is None:
                text = f"No sample since the start {age:.0f} s ago.\n"
            return HttpResponse(
                text.encode(), HTTPStatus.SERVICE_UNAVAILABLE, {"Content-Type": PLAIN}
            )
        return HttpResponse(b"deeprig-agent is healthy.\n", headers={"Content-Type": PLAIN})

    def _answer_readiness(self, request: HttpRequest) -> HttpResponse:
        if self._published is None:
            return error(HTTPStatus.SERVICE_UNAVAILABLE)
        return HttpResponse(b"deeprig-agent is ready.\n", headers={"Content-Type": PLAIN})

    def _encode_answer(
        self, request: HttpRequest, name: str, build: Callable[[], bytes], kind: str
    ) -> HttpResponse:
        headers = {"Content-Type": kind, "Vary": "Accept, Accept-Encoding"}
        if kind == JSON:
            headers["Cache-Control"] = "no-store"
        body = self._get_form(name, build)
        if accepts_gzip(request.headers.get("accept-encoding", "")):
            headers["Content-Encoding"] = "gzip"
            body = self._get_form(f"{name}.gz", lambda: gzip.compress(body, COMPRESSION))
        return HttpResponse(body, headers=headers)

    def _get_form(self, name: str, build: Callable[[], bytes]) -> bytes:
        if name not in self._forms:
            self._forms[name] = build()
        return self._forms[name]


def add_headers(config: WebConfig, response: HttpResponse) -> HttpResponse:
    """Return an answer with the configured headers."""
    if not config.headers:
        return response
    return HttpResponse(response.body, response.status, {**response.headers, **config.headers})


def refuse_unauthorized() -> HttpResponse:
    """Return an answer that asks for a name and a password."""
    return error(HTTPStatus.UNAUTHORIZED, **{"WWW-Authenticate": 'Basic realm="deeprig-agent"'})


def refuse_too_many(seconds: int) -> HttpResponse:
    """Return an answer that asks the client to retry later."""
    return error(HTTPStatus.TOO_MANY_REQUESTS, **{"Retry-After": str(seconds)})

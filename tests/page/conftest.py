"""A browser with a page that must not break a rule during a test."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright

from tests.page.server import Agent, serve

NAMES = ("chromium", "chromium-browser", "google-chrome")
MISSING = "no Chromium here (apt-get install chromium)"
# No traffic by the browser itself, and no sandbox, which containers don't allow.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SIZES = {"phone": (360, 780), "laptop": (1280, 800), "large": (1920, 1080)}
READY_SECONDS = 8.0


def chromium() -> str | None:
    """Where the browser is."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without a browser, skip all of these tests with the reason in one line; in CI they fail."""
    here = [item for item in items if item.path.is_relative_to(Path(__file__).parent)]
    if chromium() or not here or os.environ.get("CI") == "true":
        return
    here[0].add_marker(pytest.mark.skip(reason=f"all {len(here)} page tests: {MISSING}"))
    config.hook.pytest_deselected(items=here[1:])
    items[:] = [item for item in items if item not in here[1:]]


@dataclass
class Complaints:
    """Errors of a page, violations of its policy, and requests to other sites."""

    origin: str
    texts: list[str] = field(default_factory=list)
    allowed: tuple[str, ...] = ()

    def watch(self, page: Page) -> None:
        """Record everything from now on. The browser reports violations of a policy as errors."""
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.texts.append(f"error: {error}"))
        page.on("request", self._request)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.texts.append(f"{message.type}: {message.text}")

    def _request(self, request: Request) -> None:
        if not request.url.startswith((self.origin, "data:")):
            self.texts.append(f"request: {request.url}")

    def list_unexpected(self) -> list[str]:
        """Return the complaints that no test allows."""
        return [text for text in self.texts if not any(words in text for words in self.allowed)]


@dataclass
class Shown:
    """A page that shows what `agent` serves."""

    page: Page
    agent: Agent
    complaints: Complaints

    def text(self, selector: str) -> str:
        """Return the visible text of an element as one line."""
        return " ".join(self.page.locator(selector).inner_text().split())

    def texts(self, selector: str) -> list[str]:
        """Return the visible text of each element."""
        return [" ".join(text.split()) for text in self.page.locator(selector).all_inner_texts()]

    def fold_out(self) -> None:
        """Open everything that is folded."""
        for summary in self.page.locator("summary").all():
            summary.click()

    def wait(self, expression: str) -> None:
        """Until an expression of JavaScript is true.

        Playwright's wait_for_function evaluates strings in the page, which its policy forbids.
        """
        deadline = time.monotonic() + READY_SECONDS
        while not self.page.evaluate(expression):
            assert time.monotonic() < deadline, f"never true: {expression}"
            self.page.wait_for_timeout(30)


Show = Callable[..., Shown]


# Playwright's event loop runs in the main thread: it must end before tests of other folders begin.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    path = chromium()
    if path is None:
        pytest.fail(f"The page's tests must run in CI: {MISSING}", pytrace=False)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@contextmanager
def opener(browser: Browser) -> Iterator[Show]:
    """Open pages until the block ends; fail if one of them broke a rule."""
    opened: list[Shown] = []
    with ExitStack() as stack:

        def open_page(
            agent: Agent | None = None,
            size: str = "laptop",
            scheme: Any = "light",
            ready: bool = True,
        ) -> Shown:
            agent = stack.enter_context(serve(agent or Agent()))
            width, height = SIZES[size]
            context = browser.new_context(
                viewport={"width": width, "height": height}, color_scheme=scheme
            )
            stack.callback(context.close)
            page = context.new_page()
            shown = Shown(page, agent, Complaints(agent.url))
            shown.complaints.watch(page)
            opened.append(shown)
            page.goto(agent.url)
            if ready:
                shown.wait("document.querySelector('#host .rows') !== null")
                shown.wait("!/Waiting/.test(document.querySelector('#history').textContent)")
            return shown

        yield open_page
    for shown in opened:
        assert shown.complaints.list_unexpected() == []


@pytest.fixture
def show(browser: Browser) -> Iterator[Show]:
    """show(agent, size="laptop", scheme="light", ready=True): the page, when it has drawn."""
    with opener(browser) as open_page:
        yield open_page


@pytest.fixture(scope="module")
def example(browser: Browser) -> Iterator[Shown]:
    """The example on a laptop, for tests that only look."""
    with opener(browser) as open_page:
        yield open_page()

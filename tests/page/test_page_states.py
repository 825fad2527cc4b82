"""The page in unusual states: lost GPUs, no driver, no answer, old data, odd names."""

from __future__ import annotations

import re

import pytest

from tests.page import documents
from tests.page.conftest import SIZES, Show
from tests.page.server import Agent

BANNER_SAYS = "text => document.querySelector('#banner').textContent.includes(text)"


def every_second(agent: Agent) -> Agent:
    """Return an agent whose page refreshes every second."""
    agent.rig["agent"]["interval_seconds"] = 1.0
    return agent


def test_gpu_lost_while_the_page_is_open_is_shown(show: Show) -> None:
    shown = show(every_second(Agent()))
    documents.lose_gpu(shown.agent.rig, 0, "NVML_ERROR_GPU_IS_LOST")
    shown.wait("document.querySelector('#gpus .silent') !== null")
    tile = shown.texts("#gpus .tile")[0]
    assert "Critical" in tile
    assert "Does not answer. NVML_ERROR_GPU_IS_LOST It answered last at" in tile
    assert "°C" not in tile
    assert "It fell off the bus: reboot." in shown.texts("#verdicts .verdict")[0]
    assert "2 of 3 answer" in shown.text("#header")


def test_a_new_verdict_appears(show: Show) -> None:
    shown = show(every_second(Agent()))
    shown.agent.rig["verdicts"].insert(
        0,
        documents.verdict(subject="0000:06:00.0", status="critical", advice="Run `fab look` now."),
    )
    shown.wait("document.querySelectorAll('#verdicts .verdict.critical').length === 2")
    assert "GPU 1 06:00.0 91 °C expected: below 88 °C" in shown.texts("#verdicts .verdict")[0]
    assert shown.page.locator("#verdicts code", has_text="fab look").count() == 1
    assert "2 critical" in shown.text("#header")


def test_all_checks_ok_is_announced(show: Show) -> None:
    agent = Agent()
    agent.rig["status"] = "ok"
    for verdict in agent.rig["verdicts"]:
        verdict.update(status="ok", advice="")
    shown = show(agent)
    assert "All 19 checks are ok." in shown.text("#verdicts")
    assert shown.page.locator("#verdicts .verdict").count() == 0
    assert shown.page.title() == "ok · rig"


def test_missing_driver_is_shown(show: Show) -> None:
    agent = Agent(rig=documents.without_driver())
    agent.history.update(times=[], series={})
    shown = show(agent)
    assert "missing: the module nvidia is not loaded" in shown.text("#header")
    assert "0 of 3 answer" in shown.text("#header")
    assert all("Does not answer." in tile for tile in shown.texts("#gpus .tile"))
    assert "It has not answered since the agent started." in shown.texts("#gpus .tile")[0]
    assert "No result yet: fab validate" in shown.text("#nccl")
    # What the bus shows is there all the same, and compared here since no verdict does.
    assert shown.page.locator("#tree .drawing g.link.problem").count() == 1


def test_old_data_is_announced(show: Show) -> None:
    agent = every_second(Agent())
    shown = show(agent)
    assert shown.text("#banner") == ""
    agent.old = 90.0
    shown.wait(f"({BANNER_SAYS})('Old data')")
    assert shown.page.get_by_role("alert").inner_text().startswith("Old data: the agent answers")
    # Nothing is claimed about how the rig is now.
    assert "Not known now; was critical" in shown.text("#header .overall")
    assert shown.text("#header .age").startswith("Sampled 1 min 3")
    assert shown.page.title() == "no data · rig"
    agent.old = 0.0
    shown.wait("document.querySelector('#banner').textContent === ''")
    assert shown.text("#header .overall") == "Critical"


def test_wrong_browser_clock_does_not_make_data_old(show: Show) -> None:
    """The phone is an hour ahead: the page counts ages by the agent's clock (Date header)."""
    agent = every_second(Agent())
    shown = show(agent)
    shown.page.evaluate("(now => { Date.now = () => now() + 3600e3; })(Date.now.bind(Date))")
    shown.page.wait_for_timeout(2500)
    assert re.fullmatch(r"Sampled \d s ago", shown.text("#header .age"))
    assert shown.text("#banner") == ""


def test_unreachable_agent_is_announced(show: Show) -> None:
    agent = every_second(Agent())
    shown = show(agent)
    shown.complaints.allowed = ("status of 503",)
    agent.status = 503
    shown.wait(f"({BANNER_SAYS})('No data from the agent since')")
    banner = shown.text("#banner")
    assert "HTTP 503" in banner
    assert "What is shown here was sampled at" in banner
    assert shown.page.locator("#gpus .tile").count() == 3  # what was known stays
    agent.status = 200
    shown.wait("document.querySelector('#banner').textContent === ''")


def test_agent_unreachable_at_page_load_is_announced(show: Show) -> None:
    shown = show(Agent(status=503), ready=False)
    shown.complaints.allowed = ("status of 503",)
    shown.wait(f"({BANNER_SAYS})('HTTP 503')")
    assert not shown.page.locator("main").is_visible()


def test_unknown_api_version_is_refused(show: Show) -> None:
    agent = Agent()
    agent.rig["api_version"] = "v2"
    shown = show(agent, ready=False)
    shown.wait(f"({BANNER_SAYS})('it speaks API v2')")


def test_hidden_tab_sends_no_requests(show: Show) -> None:
    shown = show(every_second(Agent()))
    hide = "value => { Object.defineProperty(document, 'hidden', {value, configurable: true}); "
    hide += "document.dispatchEvent(new Event('visibilitychange')); }"
    shown.page.evaluate(hide, True)
    shown.page.wait_for_timeout(300)  # what was asked before is answered
    before = len(shown.agent.asked)
    shown.page.wait_for_timeout(1500)
    assert len(shown.agent.asked) == before
    shown.page.evaluate(hide, False)
    shown.page.wait_for_timeout(300)
    assert len(shown.agent.asked) > before


def test_broken_section_does_not_affect_the_others(show: Show) -> None:
    agent = Agent()
    del agent.rig["nccl"]["results"]
    shown = show(agent)
    shown.complaints.allowed = ("TypeError",)
    assert "This part can't be shown" in shown.text("#nccl")
    assert shown.page.locator("#gpus .tile").count() == 3


def test_markup_in_names_is_shown_as_text(show: Show) -> None:
    agent = Agent()
    rig, name = agent.rig, "<script>window.broken = 1</script><img src=x onerror=alert(1)>"
    rig["host"].update(name=name, board=name, kernel_hazards={name: True})
    rig["gpus"][0]["name"] = rig["gpus"][1]["problem"] = name
    rig["gpus"][1].update(up=False, reading=None)
    rig["verdicts"][0].update(title=name, advice=name, reading=name, expectation=name, why=name)
    rig["nccl"]["results"][0]["collective"] = name
    shown = show(agent)
    shown.fold_out()
    assert shown.text("#header h1") == name
    assert name in shown.texts("#gpus .tile")[1]
    assert shown.page.locator("main script, main img, header script, header img").count() == 0
    assert shown.page.evaluate("window.broken") is None


@pytest.mark.parametrize("case", ["example", "eight", "long"])
def test_no_page_scrolls_sideways(show: Show, case: str) -> None:
    agent = Agent(rig=documents.build_many() if case == "eight" else documents.rig())
    if case == "long":
        agent.rig["host"]["name"] = "rig" * 40
        agent.rig["verdicts"][0].update(advice="w" * 400, reading="r" * 200)
        agent.rig["gpus"][0]["name"] = "x" * 200
        agent.rig["nccl"]["results"][0]["collective"] = "c" * 80
    shown = show(agent)
    shown.fold_out()
    for width, height in SIZES.values():
        shown.page.set_viewport_size({"width": width, "height": height})
        tree = "wide" if width > 1000 else "tall"
        shown.wait(f"document.querySelector('#tree svg.{tree}') !== null")
        assert shown.page.evaluate("document.documentElement.scrollWidth") <= width
        # Nothing is cut off instead: what scrolls by itself is the drawing alone.
        assert shown.page.evaluate(
            "[...document.querySelectorAll('main *')].filter((node) => (node instanceof HTMLElement"
            " && node.scrollWidth > node.clientWidth + 1 && node.clientWidth > 0"
            " && getComputedStyle(node).display !== 'inline')).map((node) => node.className)"
        ) in ([], ["drawing"])


def test_page_works_behind_a_path_prefix(show: Show) -> None:
    shown = show(Agent(prefix="/rigs/one"))
    assert shown.page.locator("#gpus .tile").count() == 3
    assert all(path.startswith("/rigs/one/") for path in shown.agent.asked)
    for link in shown.page.locator("#footer a").all():
        assert not (link.get_attribute("href") or "/").startswith(("/", "http"))


def test_page_requests_only_the_files_it_needs(show: Show) -> None:
    agent = show().agent
    files = {path for path in agent.asked if path.startswith("/page/")}
    assert set(agent.asked) - files == {"/", "/api/v1/rig", "/api/v1/history"}
    assert all(agent.answer(path)[0] == 200 for path in files)

"""The page of a validation: it opens from a file without requests, and fits any screen."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser

from provision.validate import html
from tests.page.conftest import SIZES, Complaints
from tests.unit.validate.reports import bench, check, report, row


@pytest.mark.parametrize("size", SIZES)
def test_report_page_opens_without_a_network(browser: Browser, tmp_path: Path, size: str) -> None:
    bad = row("0000:04:00.0 host to device", 1e9, minimum=2e9, status="critical", advice="Look.")
    file = tmp_path / "report.html"
    file.write_text(
        html.render(
            report(
                check(
                    "load::collectives", "Collectives", row("all_reduce nccl", 2.9e9, minimum=2.1e9)
                ),
                check("load::transfers", "Copies between host and GPU", bad, status="critical"),
                bench=bench(),
            )
        )
    )
    width, height = SIZES[size]
    context = browser.new_context(viewport={"width": width, "height": height}, offline=True)
    page = context.new_page()
    complaints = Complaints(file.as_uri())
    complaints.watch(page)
    page.goto(file.as_uri())
    assert page.locator("h1").inner_text() == "rig"
    assert page.locator("figure svg").count() == 2
    for number in range(2):
        box = page.locator("figure svg").nth(number).bounding_box()
        assert box is not None
        assert box["width"] > 200
        assert box["x"] + box["width"] <= width
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert "Look." in page.locator("table").first.inner_text()
    assert complaints.list_unexpected() == []
    context.close()

"""What the operator may ask of `fab upgrade`, and what the inventory must not contradict."""

from __future__ import annotations

import pytest

from provision.errors import SourceError
from provision.inventory.hosts import Host
from provision.upgrade.plan import UpgradeRequest, find_contradictions

NEWEST = {"nvidia_driver_version": "newest"}


@pytest.mark.parametrize(
    ("request_", "settings"),
    [
        (UpgradeRequest(), NEWEST),
        (UpgradeRequest(within_branch=True), NEWEST),
        (UpgradeRequest(driver="590"), {**NEWEST, "nvidia_driver_branch": "590"}),
        (
            UpgradeRequest(driver="590.48.01"),
            {"nvidia_driver_branch": "590", "nvidia_driver_version": "590.48.01"},
        ),
        (UpgradeRequest(torch="2.14.0"), {**NEWEST, "torch_requirement": "torch==2.14.0"}),
        (
            UpgradeRequest(torch="2.14.0+cu126"),
            {**NEWEST, "torch_requirement": "torch==2.14.0+cu126"},
        ),
    ],
)
def test_request_becomes_settings(request_: UpgradeRequest, settings: dict[str, str]) -> None:
    assert request_.settings() == settings


@pytest.mark.parametrize(
    "request_",
    [
        UpgradeRequest(driver="newest"),
        UpgradeRequest(driver="59"),
        UpgradeRequest(driver="590; reboot"),
        UpgradeRequest(driver="590", within_branch=True),
        UpgradeRequest(torch="latest"),
        UpgradeRequest(torch="2.13.0 --index-url http://x.example"),
        UpgradeRequest(torch="2"),
    ],
)
def test_what_is_no_version_is_refused(request_: UpgradeRequest) -> None:
    with pytest.raises(SourceError):
        request_.settings()


def test_setting_that_would_undo_the_upgrade_is_named() -> None:
    host = Host("rig", {"nvidia_driver_branch": 580, "torch_requirement": "auto"}, ())
    wanted = UpgradeRequest(driver="590", torch="2.14.0").settings()
    (why,) = find_contradictions(host, wanted)
    assert "nvidia_driver_branch: 580" in why
    assert "write 590 there" in why
    same = Host("rig", {"nvidia_driver_branch": 590, "torch_requirement": "torch==2.14.0"}, ())
    assert find_contradictions(same, wanted) == []

"""Packages whose installation was interrupted while dpkg unpacked them."""

from __future__ import annotations

import pytest

from provision.remote.dpkg import Database


@pytest.mark.parametrize(
    ("status", "is_torn"),
    [
        ("install reinstreq half-installed", True),
        ("hold reinstreq unpacked", True),
        ("install ok half-installed", True),
        ("install ok unpacked", False),
        ("install ok half-configured", False),
        ("hold ok installed", False),
    ],
)
def test_torn_package_is_recognised_by_state_or_flag(status: str, is_torn: bool) -> None:
    text = f"Package: x\nStatus: {status}\nArchitecture: amd64\nVersion: 1\n"
    (package,) = Database(text).find_all("x")
    assert package.is_torn is is_torn

"""What root writes of kernels and packages: parsed, or refused if it is invalid."""

from __future__ import annotations

from typing import Any

import pytest

from agent.readings.system import parse

GOOD: dict[str, Any] = {
    "format": "deeprig-system-state",
    "version": 1,
    "written_at": 100.0,
    "library_version": "580.95.05",
    "kernels": [
        {"release": "6.1.0-30", "default": False, "module_version": None},
        {"release": "6.1.0-31", "default": True, "module_version": "580.95.05"},
    ],
    "driver_packages": [
        {"name": "a", "branch": 580, "origin": "vendor", "held": True},
        {"name": "b", "branch": 580, "origin": "other", "held": False},
    ],
    "unfinished": [],
    "interrupted": False,
}
NEXT = {"release": "6.1.0-31", "default": True}


def test_state_is_parsed() -> None:
    state = parse(GOOD)
    assert state.next_kernel == "6.1.0-31"
    assert state.kernels == {"6.1.0-30": None, "6.1.0-31": "580.95.05"}
    assert (state.branches, state.origins) == ({"580": 2}, {"other": 1, "vendor": 1})
    assert state.not_held == ("b",)


@pytest.mark.parametrize(
    ("changes", "works"),
    [
        ({}, True),
        ({"kernels": [{**NEXT, "module_version": None}]}, False),
        ({"kernels": [{**NEXT, "module_version": "570.1"}]}, False),
        ({"kernels": [{**NEXT, "module_version": "unknown"}]}, True),
        ({"library_version": None}, True),
        ({"driver_packages": []}, None),
        ({"kernels": []}, None),
        ({"kernels": [{"release": "6.1", "default": False, "module_version": None}]}, None),
    ],
)
def test_whether_the_next_boot_has_the_driver(changes: dict[str, Any], works: bool | None) -> None:
    assert parse({**GOOD, **changes}).next_boot_works is works


@pytest.mark.parametrize(
    "garbage",
    [
        *([], None, {}),
        *({**GOOD, "version": 2}, {**GOOD, "format": "x"}, {**GOOD, "kernels": None}),
        *({**GOOD, "kernels": [{}]}, {**GOOD, "driver_packages": ["x"]}),
        *({**GOOD, "written_at": "soon"}, {**GOOD, "unfinished": None}),
    ],
)
def test_invalid_state_is_refused(garbage: Any) -> None:
    with pytest.raises(ValueError, match=r"state|could not"):
        parse(garbage)

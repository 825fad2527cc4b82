"""The configuration file: its content, and errors with file and line."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from agent.configuration import expectations
from agent.configuration.expectations import Expectations
from agent.errors import ConfigurationError
from agent.readings.links import PciePath as PciePath
from tests.unit.agent import samples

REFUSED = yaml.safe_load((Path(__file__).parent / "expectations.yml").read_text())
PATH = PciePath("0000:08:00.0", (), max_width=16, max_speed=8e9)


def load(folder: Path, text: str) -> Expectations:
    file = folder / "agent.yml"
    file.write_text(text)
    return expectations.load_expectations(file)


@pytest.mark.parametrize("case", REFUSED, ids=[case["error"] for case in REFUSED])
def test_invalid_file_is_refused_with_file_and_line(case: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, case["text"])
    assert str(caught.value).startswith(f"{tmp_path / 'agent.yml'}{case['error']}")
    assert "\n" not in str(caught.value)


def test_threshold_beyond_the_float_range_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"agent\.yml:2: 'xid_seconds' must be 0 or more"):
        load(tmp_path, f"thresholds:\n  xid_seconds: 1{'0' * 400}\n")


def test_missing_or_binary_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"gone\.yml: No such file or directory$"):
        expectations.load_expectations(tmp_path / "gone.yml")
    with pytest.raises(ConfigurationError, match=r": Is a directory$"):
        expectations.load_expectations(tmp_path)
    (tmp_path / "x.yml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match=r"x\.yml: not a text file$"):
        expectations.load_expectations(tmp_path / "x.yml")


@pytest.mark.parametrize("text", ["", "# nothing\n", "{}\n", "thresholds:\npath_widths:\n"])
def test_every_key_is_optional(text: str, tmp_path: Path) -> None:
    loaded = load(tmp_path, text)
    assert (loaded.gpus, loaded.path_width, loaded.path_speed) == (None, None, None)
    assert (
        loaded.thresholds
        == samples.table("thresholds")
        == expectations.load_expectations(None).thresholds
    )
    assert loaded.config_file == str(tmp_path / "agent.yml")
    assert expectations.load_expectations(None).config_file is None


def test_zero_is_a_valid_number(tmp_path: Path) -> None:
    loaded = load(tmp_path, "{gpus: 0, thresholds: {replays_warning: 0}}")
    assert (loaded.gpus, loaded.thresholds["replays_warning"]) == (0, 0)


@pytest.mark.parametrize("gts", [2.5, 5, 5.0, 8, 16, 32, 64])
def test_every_pcie_speed_is_accepted(gts: float, tmp_path: Path) -> None:
    assert load(tmp_path, f"path_speed_gts: {gts}").path_speed == gts * 1e9


@pytest.mark.parametrize("width", [1, 2, 4, 8, 12, 16, 32])
def test_every_pcie_width_is_accepted(width: int, tmp_path: Path) -> None:
    assert load(tmp_path, f"path_width: {width}").path_width == width


def test_example_of_the_docstring_is_valid(tmp_path: Path) -> None:
    assert expectations.__doc__ is not None
    text = expectations.__doc__.partition("is optional.\n\n")[2]
    loaded = load(tmp_path, text)
    assert (loaded.gpus, loaded.gpus_from) == (3, "inventory")
    assert (loaded.path_width, loaded.path_speed) == (4, 8e9)
    assert loaded.thresholds == {**samples.table("thresholds"), "memory_free_ratio": 0.02}


def test_expected_width_and_speed_of_a_path(tmp_path: Path) -> None:
    def expected_of_path(text: str) -> tuple[int | None, str, float | None, str]:
        path = load(tmp_path, text).add_to(PATH)
        return (
            path.expected_width,
            path.expected_width_from,
            path.expected_speed,
            path.expected_speed_from,
        )

    assert expected_of_path("") == (
        16,
        "the narrowest device on the path",
        8e9,
        "the slowest device on the path",
    )
    assert expected_of_path(
        "{path_width: 4, path_width_from: board data, path_speed_gts: 2.5}"
    ) == (
        4,
        "board data",
        2.5e9,
        "set for this rig",
    )
    assert expected_of_path("path_width: 4")[:2] == (4, "set for this rig")
    both = "{path_width: 4, path_widths: {'0000:08:00.0': 1}}"
    assert expected_of_path(both)[:2] == (1, "set for this address")
    few = load(tmp_path, both).add_to(PATH, 1), load(tmp_path, "path_width: 4").add_to(PATH, 1)
    assert [expected_path.expected_width_from for expected_path in few] == [
        "set for this address",
        "all that the card has",
    ]
    assert few[1].expected_width == 1
    assert load(tmp_path, "path_width: 4").add_to(PATH, 16).expected_width == 4
    other = "{path_width: 4, path_widths: {'0000:04:00.0': 1}}"
    assert expected_of_path(other)[:2] == (4, "set for this rig")

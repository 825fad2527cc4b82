"""A first look reads every file that the facts about a miner's surroundings need."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator

import pytest

from provision.discovery.questions import load_table, starting_places
from provision.remote.facts import surroundings
from provision.remote.facts.tables import table


def wanted_paths() -> Iterator[str]:
    rows = table("surroundings.json")["lines"]
    patterns = {pattern for row in rows for pattern in row["files"]}
    patterns |= {f"~/{name}" for name in surroundings.LOGIN_FILES_OF_USERS}
    patterns |= {
        *surroundings.LOGIN_SETTINGS,
        *surroundings.GRUB_FILES,
        *surroundings.SYSTEM_FILES,
        "/etc/hosts",
    }
    for pattern in sorted(patterns):
        for home in ("/root", "/home/me") if pattern.startswith("~") else ("",):
            yield home + pattern.lstrip("~").replace("*", "x")


@pytest.mark.parametrize("path", list(wanted_paths()))
def test_first_look_has_the_files_with_settings_for_miners(path: str) -> None:
    questions = load_table()
    is_in_home = path.startswith("/home/")
    patterns = [
        *questions["homes" if is_in_home else "settings"],
        *starting_places("/home/*" if is_in_home else "/root"),
    ]
    # A folder brings all that is in it.
    assert any(fnmatch.fnmatch(path, p) or path.startswith(f"{p}/") for p in patterns)

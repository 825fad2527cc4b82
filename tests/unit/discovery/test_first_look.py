"""A first look reads every file that the facts about a miner and its surroundings need."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator

import pytest

from provision.discovery.questions import questions
from provision.remote.facts import containers, surroundings
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
    # What is below /run is made again at each boot, of the other folders.
    folders = {folder for folder in containers.QUADLET_FOLDERS if not folder.startswith("/run")}
    patterns |= {f"{folder}/x.container" for folder in folders}
    for pattern in sorted(patterns):
        for home in ("/root", "/home/me") if pattern.startswith("~") else ("",):
            yield home + pattern.lstrip("~").replace("*", "x")


@pytest.mark.parametrize("path", list(wanted_paths()))
def test_first_look_has_the_files_with_settings_for_miners(path: str) -> None:
    command = questions()["homes" if path.startswith("/home/") else "settings"]
    patterns = re.findall(r"[\w.*\[\]/@-]+", command)
    # The shell's folder is /. A folder brings all that is in it.
    places = [place for p in patterns for place in (f"/{p}", f"/{p}/*")]
    assert any(fnmatch.fnmatch(path, place) for place in places)

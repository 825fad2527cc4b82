"""What apt-get writes of repositories that fail, and servers of the time, as lines of facts."""

from __future__ import annotations

import subprocess
import time
from email.utils import formatdate
from pathlib import Path

import pytest

from provision.inventory import yaml_source

ROOT = Path(__file__).parents[3]


def answers(folder: Path, log: str) -> list[str]:
    shell = yaml_source.load_yaml(ROOT / "playbooks/vars/repositories.yml")["repository_answers"]
    (folder / "log").write_text(log)
    done = subprocess.run(
        ["sh", "-c", f"work={folder}; asked=http://asked.example\n{shell}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.mark.parametrize("name", ["Date", "date"])
@pytest.mark.parametrize("seconds", [-7200, 0, 90000])
def test_clock_against_the_latest_answer(tmp_path: Path, name: str, seconds: int) -> None:
    days = [formatdate(time.time() - seconds - age, usegmt=True) for age in (86400, 0, 3600)]
    log = "".join(
        f"Answer for: http://x.example\nHTTP/1.1 200 OK\n{name}: {day}\r\n" for day in days
    )
    (row,) = answers(tmp_path, log)
    word, _, number = row.partition(" ")
    assert word == "clock"
    assert abs(int(number) - seconds) < 30


@pytest.mark.parametrize(
    ("line", "row"),
    [
        (
            "W: Failed to fetch http://x.example/InRelease  Could not connect to x.example:80",
            "failed http://x.example/InRelease Could not connect to x.example:80",
        ),
        (
            "E: The repository 'http://x.example/debian y Release' does not have a Release file.",
            "failed http://x.example/debian The repository 'http://x.example/debian y Release' does"
            " not have a Release file.",
        ),
        (
            "E: Release file for http://x.example/InRelease is not valid yet (invalid for 2h).",
            "failed http://x.example/InRelease Release file for http://x.example/InRelease is not"
            " valid yet (invalid for 2h).",
        ),
        (
            "W: GPG error: http://x.example y InRelease: NO_PUBKEY 1234",
            "failed http://x.example GPG error: http://x.example y InRelease: NO_PUBKEY 1234",
        ),
        # apt 3, which lets sqv verify.
        (
            "W: OpenPGP signature verification failed: http://x.example y InRelease: Sub-process"
            " /usr/bin/sqv returned an error code (1), error message is: Missing key 12",
            "failed http://x.example OpenPGP signature verification failed: http://x.example y"
            " InRelease: Sub-process /usr/bin/sqv returned an error code (1), error message is:"
            " Missing key 12",
        ),
        (
            "W: OpenPGP signature verification failed: http://asked.example y InRelease:"
            " Sub-process /usr/bin/sqv returned an error code (1), error message is: Missing key",
            None,
        ),
        ("W: GPG error: http://asked.example y InRelease: NO_PUBKEY 1234", None),
        ("Get:1 http://x.example y InRelease [151 kB]", None),
        ("W: Some index files failed to download. They have been ignored.", None),
    ],
)
def test_repositories_that_fail(tmp_path: Path, line: str, row: str | None) -> None:
    rows = answers(tmp_path, f"{line}\n")
    assert rows == ([row] if row else [])

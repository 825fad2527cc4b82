"""The check of authorised keys, with files of keys."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from tests.rig import test_demined
from tests.rig.proof import Proof
from tests.rig.subject import Subject

OPERATOR, STRANGER = "AAAAC3operator", "AAAAC3stranger"
MINE = f"ssh-ed25519 {OPERATOR} me@desk"
ONE_LINE = '# ssh-ed25519 AAAAold gone\nfrom="10.*",no-pty {}\n'
ROOT, SECOND = "/root/.ssh/authorized_keys", "/home/user/.ssh/authorized_keys2"


class Host:
    """testinfra's host, as far as the check asks it."""

    def __init__(self, files: dict[str, str]) -> None:
        self._files = files

    def run(self, _: str) -> Any:
        users = "root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n"
        return SimpleNamespace(rc=0, stdout=users, stderr="")

    def file(self, path: str) -> Any:
        text = self._files.get(path)
        return SimpleNamespace(path=path, exists=text is not None, content_string=text)


def run_check(files: dict[str, str], only: Sequence[str] = ()) -> list[tuple[str, str]]:
    """Run the check; return subject and status of each row."""
    host, proof = Host(files), Proof()
    subject = Subject("rig", host, {}, {"authorized_keys": list(only)})
    try:
        test_demined.test_authorized_keys(subject, host, proof)
    except AssertionError:
        assert any(row.status == "critical" for row in proof.rows)
    return [(row.subject, row.status) for row in proof.rows]


@pytest.mark.parametrize(
    ("key", "only", "expected"),
    [
        (MINE, (), [("/root me@desk", "ok")]),
        (f"ssh-ed25519 {STRANGER} root@hive", (), [("/root root@hive", "critical")]),
        (f"ssh-ed25519 {STRANGER} the hive of", (), [("/root the hive of", "critical")]),
        (f"sk-ssh-ed25519@openssh.com {STRANGER}", (), [(f"/root {STRANGER}", "ok")]),
        # Where the inventory names the keys, comments do not count.
        (MINE, (MINE,), [("/root me@desk", "ok")]),
        (f"ssh-ed25519 {STRANGER} me@desk", (MINE,), [("/root me@desk", "critical")]),
        (f"ssh-ed25519 {OPERATOR} root@hive", (MINE,), [("/root root@hive", "ok")]),
    ],
)
def test_authorized_key_is_judged(
    key: str, only: Sequence[str], expected: list[tuple[str, str]]
) -> None:
    assert run_check({ROOT: ONE_LINE.format(key)}, only) == expected


def test_second_authorized_keys_file_is_checked() -> None:
    assert run_check({SECOND: f"{MINE}\nssh-rsa {STRANGER} root@hive\n"}) == [
        ("/home/user me@desk", "ok"),
        ("/home/user root@hive", "critical"),
    ]


def test_no_keys_pass() -> None:
    assert run_check({}) == [("rig", "ok")]
    assert run_check({}, (MINE,)) == [("rig", "ok")]

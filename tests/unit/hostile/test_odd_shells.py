"""Logins whose shell is not a rig's: every verb reports it, and none shows an empty rig."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from provision.errors import OtherSystemError
from provision.inventory.hosts import Host
from provision.ssh.connection import RigConnection
from provision.ssh.shell import MARK, RootShell, Shell
from tests.unit.hostile.ssh_server import SshServer, ssh_server

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
#: What is written instead of a command's output, whatever the command is.
ANSWERS = {
    "forced command": b"backup server: 3 jobs\n",
    "nologin": b"This account is currently not available.\n",
    "rbash": b"rbash: line 1: exec: restricted\n",
    "RouterOS": b"bad command name exec (line 1 column 1)\n",
    "switch": b"% Invalid input detected at '^' marker.\r\n\r\n",
    "silence": b"",
    "banner": b"\x1b[2J\x1b[1;1H*** Welcome to FARM-7 ***\n\n",
}
READING = (("facts",), ("assess",), ("status",), ("restore", "--check"))
OTHERS = (
    *(("backup",), ("restore",), ("provision", "--check")),
    *(("validate",), ("upgrade",), ("reinstall",), ("bench",), ("checklist",), ("advise",)),
)


@pytest.fixture(params=list(ANSWERS))
def server(request: pytest.FixtureRequest) -> Iterator[SshServer]:
    with ssh_server(ANSWERS[request.param], runs_commands=False) as made:
        yield made


def variables(server: SshServer, user: str) -> dict[str, object]:
    return {
        "ansible_host": "127.0.0.1",
        "ansible_port": server.port,
        "ansible_user": user,
        "ansible_password": "hunter22",
    }


def test_no_verb_takes_it_for_a_rig(server: SshServer, tmp_path: Path) -> None:
    check_verbs(server, tmp_path, "root", READING)


@pytest.mark.parametrize("user", ["root", "user"])
def test_all_verbs_name_a_login_that_runs_nothing(tmp_path: Path, user: str) -> None:
    with ssh_server(ANSWERS["forced command"], runs_commands=False) as server:
        check_verbs(server, tmp_path, user, (*READING, *OTHERS))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The operator's known hosts: other servers had the ports of these tests."""
    monkeypatch.setenv("HOME", str(tmp_path))


def check_verbs(
    server: SshServer, tmp_path: Path, user: str, verbs: tuple[tuple[str, ...], ...]
) -> None:
    """Run each verb as its own process; assert that it fails with one sentence."""
    (tmp_path / "group_vars").symlink_to(ROOT / "inventory/group_vars")
    inventory = tmp_path / "rigs.yml"
    inventory.write_text(yaml.safe_dump({"rigs": {"hosts": {"attic": variables(server, user)}}}))
    words = [sys.executable, "-m", "fabric"]
    processes = {
        verb: subprocess.Popen(
            [*words, *verb, "-H", "attic", "--inventory", str(inventory), "--accept-new"],
            cwd=ROOT,
            env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for verb in verbs
    }
    for verb, process in processes.items():
        output, _ = process.communicate(timeout=120)
        assert process.returncode in (2, 4), (verb, process.returncode, output)
        assert "Traceback" not in output, output
        assert "\x1b[2J" not in output
        assert "attic" in output


def test_what_a_login_prints_is_not_the_commands(tmp_path: Path) -> None:
    noise = b"*** Welcome to FARM-7 ***\nuptime 3 days\n"
    with ssh_server(noise + MARK + b"in\n", runs_commands=False) as server:
        connection = RigConnection(Host("attic", variables(server, "user"), ()), accept_new=True)
        lines: list[str] = []
        done = Shell(connection).run("true", lines.append)
        connection.close()
    assert done.out == b"in\n"
    assert lines == ["in"]


def test_shell_that_runs_nothing_is_named_with_its_words(server: SshServer) -> None:
    connection = RigConnection(Host("attic", variables(server, "root"), ()), accept_new=True)
    with pytest.raises(OtherSystemError, match="accepts the login, but its shell") as caught:
        RootShell(connection, None).run("true")
    connection.close()
    assert "command=" in caught.value.advice
    assert "\x1b" not in caught.value.message

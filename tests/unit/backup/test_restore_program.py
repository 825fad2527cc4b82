"""Parts of the program that restores a rig, on files: what differs, what units and keys become."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from provision.backup import by_shell
from provision.inventory.hosts import Host
from provision.ssh.shell import RootShell, ShellResult
from tests.unit.modules.rig import create_files

#: All of it but the call at its end.
FUNCTIONS = "".join(path.read_text() for path in by_shell.PROGRAM).rpartition("main ")[0]


def run(script: str, *words: str, cwd: Path, stdin: str = "") -> str:
    """Run a line with the program's functions, as the rig's shell does; return what it prints."""
    return subprocess.run(
        ["sh", "-c", f"{FUNCTIONS}\n{script}", "sh", *words],
        cwd=cwd,
        input=stdin,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


@pytest.mark.parametrize(
    ("line", "row"),
    [
        ("etc/a: Contents differ", "etc/a\tContents differ"),
        ("etc/a b: Mode differs", "etc/a b\tMode differs"),
        ("tar: etc/a: Warning: Cannot stat: No such file or directory", "etc/a\tmissing"),
        ("tar: etc/a: Cannot open: Permission denied", "etc/a\tmissing"),
        ("etc/a: Not linked to etc/b", "etc/a\tLink differs"),
        # A user's name for a file is never another path.
        ("home/u/x: Mode differs: Uid differs", "home/u/x: Mode differs\tUid differs"),
        ("etc/a: Mod time differs", ""),
        ("tar: Removing leading `/' from member names", ""),
    ],
)
def test_differences_are_read_from_tar(tmp_path: Path, line: str, row: str) -> None:
    assert run("difference_rows", cwd=tmp_path, stdin=f"{line}\n").strip("\n") == row


@pytest.mark.parametrize(
    ("before", "now", "change"),
    [
        ("enabled", "disabled", "enable"),
        ("enabled", "masked", "enable"),
        ("static", "masked", "unmask"),
        ("disabled", "masked", "unmask"),
        ("linked", "masked", "unmask"),
        ("masked", "disabled", "mask"),
        ("disabled", "enabled", "disable"),
        ("enabled", "enabled", ""),
        ("enabled-runtime", "masked", ""),
        ("enabled", None, ""),  # its package is not here any more
        (None, "enabled", ""),  # it was not here then
    ],
)
def test_units_change_to_their_earlier_state(
    tmp_path: Path, before: str | None, now: str | None, change: str
) -> None:
    for name, unit_state in (("then", before), ("now", now)):
        rows = [f"x.service {unit_state}"] if unit_state else []
        (tmp_path / name).write_text("\n".join(["cron.service enabled", *rows]) + "\n")
    printed = run('unit_changes "$1" "$2"', "then", "now", cwd=tmp_path)
    assert printed.strip() == (f"{change} x.service" if change else "")


def test_way_in_is_never_switched_off(tmp_path: Path) -> None:
    (tmp_path / "then").write_text(
        "ssh.service disabled\nssh.socket masked\ndeeprig-agent.service disabled\n"
    )
    (tmp_path / "now").write_text(
        "ssh.service enabled\nssh.socket enabled\ndeeprig-agent.service enabled\n"
    )
    assert run('unit_changes "$1" "$2"', "then", "now", cwd=tmp_path) == ""


@pytest.mark.parametrize(
    ("now", "after"),
    [
        ("# deeprig: ssh-rsa A vendor\nssh-rsa B me\n", "ssh-rsa A vendor\nssh-rsa B me\n"),
        ("ssh-rsa B me\nssh-rsa C new", "ssh-rsa B me\nssh-rsa C new\nssh-rsa A vendor\n"),
        ("", "ssh-rsa A vendor\nssh-rsa B me\n"),
        ("ssh-rsa B me\nssh-rsa A vendor\n", None),
        ("# deeprig: ssh-rsa A vendor\nssh-rsa A vendor\nssh-rsa B me\n", None),
    ],
)
def test_keys_are_let_in_again_and_none_is_taken(
    tmp_path: Path, now: str, after: str | None
) -> None:
    create_files(tmp_path / "home", {".ssh/authorized_keys": now})
    (tmp_path / "keys").write_text("ssh-rsa A vendor\n\nssh-rsa B me\n")
    file = tmp_path / "home/.ssh/authorized_keys"
    file.chmod(0o640)
    words = (str(file), str(tmp_path))
    predicted = run('let_in "$1" "$2" "$ADD_KEYS" check || :', *words, cwd=tmp_path)
    assert file.read_text() == now
    printed = run('let_in "$1" "$2" "$ADD_KEYS" || :', *words, cwd=tmp_path)
    assert predicted == printed == (f"{file}\n" if after else "")
    assert file.read_text() == (after or now)
    assert file.stat().st_mode & 0o777 == 0o640
    assert [path.name for path in file.parent.iterdir()] == ["authorized_keys"]


def test_missing_files_are_put_back_as_whole_folders(tmp_path: Path) -> None:
    create_files(
        tmp_path,
        {
            "aside/hive/bin/agent": "agent",
            "aside/hive/bin/.hidden": "hidden",
            "aside/etc/x.service": "aside",
            "aside/etc/cron.d/mine": "later",
            "aside/etc/cron.d/mine.~1~": "first",
            "root/etc/x.service": "another now",
            "root/etc/cron.d/other": "other",
        },
    )
    words = (str(tmp_path / "aside"), str(tmp_path / "root"))
    predicted = run('put_back "$1" "$2" check', *words, cwd=tmp_path)
    assert not (tmp_path / "root/hive").exists()
    printed = run('put_back "$1" "$2"', *words, cwd=tmp_path)
    assert printed == predicted
    assert printed.splitlines() == [f"{words[1]}/etc/cron.d/mine", f"{words[1]}/hive"]
    assert (tmp_path / "root/hive/bin/.hidden").read_text() == "hidden"
    assert (tmp_path / "root/etc/cron.d/mine").read_text() == "first"
    assert (tmp_path / "root/etc/x.service").read_text() == "another now"
    assert (tmp_path / "aside/etc/x.service").read_text() == "aside"


class LocalShell(RootShell):
    """A rig whose commands run here."""

    def __init__(self, path: str) -> None:
        self.path = path

    def run(self, command: str, *words: object, **options: object) -> ShellResult:
        done = subprocess.run(
            ["sh", "-c", f"PATH={shlex.quote(self.path)}; {command}"],
            capture_output=True,
            check=False,
        )
        return ShellResult(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize(
    ("program", "usable"),
    [
        ("exit 0", True),
        ("exit 1", False),  # an old version
        ("echo 'rbash: python3: restricted' >&2; exit 126", False),
        (None, False),
    ],
)
def test_rig_without_a_usable_python_is_recognised(
    tmp_path: Path, program: str | None, usable: bool
) -> None:
    if program is not None:
        (tmp_path / "python3").write_text(f"#!/bin/sh\n{program}\n")
        (tmp_path / "python3").chmod(0o755)
    host = Host("attic", {}, ())
    assert by_shell.has_usable_python(LocalShell(str(tmp_path)), host) is usable


PODMAN = """#!/bin/sh
case $1 in
ps) printf 'miner 5f1c\nweb 77aa\n' ;;
inspect) case $4 in 5f1c) echo no ;; *) echo always ;; esac ;;
esac
"""


def test_containers_with_another_restart_policy_are_listed(tmp_path: Path) -> None:
    (tmp_path / "podman").write_text(PODMAN)
    (tmp_path / "podman").chmod(0o755)
    (tmp_path / "containers.txt").write_text(
        "podman miner always\npodman web always\npodman removed always\n"
    )
    script = 'PATH="$1:$PATH"; work=$1; container_changes'
    assert run(script, str(tmp_path), cwd=tmp_path) == "podman miner always\n"

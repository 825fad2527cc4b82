"""Provisioning shows the rig's secrets neither on screen nor in a log or a process list."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.rigs.machine import Rig
from tests.lab.operator import FabResult, fab, write_playbook, write_variant

pytestmark = pytest.mark.extended  # a whole provision under watch

NAME = "test8"
PASSWORD = "correct-horse-7"


class Watch(threading.Thread):
    """Reads the command line of every process, here and in the rig, all the time.

    The rig's processes are in a namespace below this machine's, so they are in its /proc, too.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.ended = threading.Event()
        self.seen: set[bytes] = set()

    def run(self) -> None:
        while not self.ended.wait(0.01):
            for file in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    self.seen.add(file.read_bytes())
                except OSError:  # it has ended
                    continue


@pytest.fixture(scope="module")
def target(make_rig: Callable[[str], Rig]) -> Iterator[Rig]:
    rig = make_rig(NAME)
    rig.run(f"echo user:{PASSWORD} | chpasswd")
    yield rig
    rig.discard()


@pytest.fixture(scope="module")
def secrets(target: Rig) -> list[str]:
    """The rig's secrets, read from the rig as it was bought."""
    text = target.run("cat /hive-config/*.conf").stdout
    names = r"RIG_PASSWD|FARM_HASH|API_TOKEN"
    settings = re.findall(rf'^(?:{names})="?([^"\n]+)', text, re.MULTILINE)
    wallets = re.findall(r"0x[0-9a-fA-F]{40}", text)
    screen = target.run("cat /hive-config/vnc-password.txt").stdout.strip()
    assert len(settings) == 3
    assert screen
    assert wallets
    return [PASSWORD, screen, *settings, *wallets]


@pytest.fixture(scope="module")
def inventory(target: Rig, write_inventory: Callable[..., Path]) -> Path:
    return write_variant(
        write_inventory(target), NAME, ansible_password=PASSWORD, ansible_become_password=PASSWORD
    )


def test_output_of_a_play_is_masked(inventory: Path, secrets: list[str], tmp_path: Path) -> None:
    command = {"cmd": "cat /hive-config/*.conf"}
    shown = {"msg": "{{ settings.stdout_lines + ['login ' ~ ansible_password] }}"}
    failing = {"cmd": "cat /hive-config/*.conf >&2; false"}
    play = write_playbook(
        tmp_path,
        {"name": "Read", "ansible.builtin.shell": command, "register": "settings"},
        {"name": "Show", "ansible.builtin.debug": shown},
        {"name": "Fail", "ansible.builtin.shell": failing},
    )
    result = fab(inventory, NAME, "play", play, "--verbose")
    assert result.status == 2
    assert result.text.count("RIG_PASSWD=********") == 2
    assert [secret for secret in secrets if secret in result.text] == []
    as_json = fab(inventory, NAME, "play", play, "--json")
    assert "RIG_PASSWD=********" in as_json.stdout
    assert [secret for secret in secrets if secret in as_json.text] == []


@pytest.fixture(scope="module")
def watch(target: Rig, secrets: list[str]) -> Watch:
    return Watch()


@pytest.fixture(scope="module")
def provisioned(target: Rig, secrets: list[str], watch: Watch, inventory: Path) -> FabResult:
    # The miner has its wallet on its command line; that is not our doing.
    target.run("systemctl stop hive-watchdog hive; pkill -x lolMiner", check=False)
    watch.start()
    try:
        result = fab(inventory, NAME, "provision", "--verbose", "--diff", seconds=300)
    finally:
        watch.ended.set()
        watch.join()
    assert result.status == 0, result.text
    return result


def test_screen_shows_no_secret(provisioned: FabResult, secrets: list[str]) -> None:
    assert [secret for secret in secrets if secret in provisioned.text] == []


def test_log_has_no_secret(provisioned: FabResult, secrets: list[str]) -> None:
    (log,) = re.findall(r"log: (\S+\.jsonl)", provisioned.stdout)
    file = Path(__file__).parents[2] / log
    text = file.read_text()
    assert '"step": "backup"' in text
    assert [secret for secret in secrets if secret in text] == []
    assert file.stat().st_mode & 0o077 == 0


def test_process_list_has_no_secret(
    provisioned: FabResult, watch: Watch, secrets: list[str]
) -> None:
    lines = b"\n".join(watch.seen).replace(b"\0", b" ").decode("utf-8", "replace")
    assert "sudo -S" in lines  # the watch did see our own commands
    assert "apt-get" in lines
    assert [secret for secret in secrets if secret in lines] == []


def test_backup_keeps_secrets_and_is_readable_by_root_only(
    provisioned: FabResult, target: Rig, secrets: list[str]
) -> None:
    folder = "/var/backups/deeprig"
    archived = target.run(f"tar -xzOf {folder}/before.tar.gz hive-config/rig.conf").stdout
    assert any(secret in archived for secret in secrets)
    assert target.run(f"runuser -u user -- ls {folder}", check=False).returncode != 0
    assert target.run(f"stat -c %a {folder}/before.tar.gz").stdout.strip() == "600"


def test_journal_of_the_rig_has_no_secret(
    provisioned: FabResult, target: Rig, secrets: list[str]
) -> None:
    journal = target.run("journalctl --no-pager -o cat _COMM=sudo + _COMM=sshd").stdout
    assert "COMMAND=" in journal
    assert [secret for secret in secrets if secret in journal] == []

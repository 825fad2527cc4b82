"""Every verb refuses a rig whose host key has changed, before it sends a password."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest

from provision.ssh.host_keys import format_host_key
from tests.unit.hostile.ssh_server import SshServer, ssh_server

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
VERBS = {
    "adopt": ("--user", "user", "--accept-new"),
    "advise": ("--accept-new",),
    "assess": ("--accept-new",),
    "backup": ("--accept-new",),
    "bench": ("--accept-new",),
    "checklist": ("--accept-new",),
    "facts": ("--accept-new",),
    "play": ("playbooks/facts.yml", "--accept-new"),
    "provision": ("--accept-new",),
    "reinstall": ("--accept-new",),
    "restore": ("--accept-new",),
    "status": ("--accept-new",),
    "upgrade": ("--accept-new",),
    "validate": ("--accept-new",),
}


@pytest.fixture(scope="module")
def rig() -> Iterator[SshServer]:
    with ssh_server() as server:
        yield server


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("recorded", ["known_hosts", "inventory"])
def test_changed_host_key_is_refused_by_every_verb(
    verb: str, recorded: str, rig: SshServer, tmp_path: Path
) -> None:
    before = format_host_key(paramiko.ECDSAKey.generate())
    known_hosts = tmp_path / "known_hosts"
    known_hosts.write_text(f"[127.0.0.1]:{rig.port} {before}\n")
    line = f"      ssh_host_key: {before}\n" if recorded == "inventory" else ""
    (tmp_path / "rigs.yml").write_text(
        f"rigs:\n  hosts:\n    attic:\n      ansible_host: 127.0.0.1\n"
        f"      ansible_port: {rig.port}\n      ansible_user: user\n"
        "      ansible_password: hunter22\n      ansible_become_password: hunter33\n"
        f"      ansible_ssh_known_hosts_file: {known_hosts}\n{line}"
    )
    words = [verb, "-H", "attic", "--inventory", str(tmp_path / "rigs.yml"), *VERBS[verb]]
    if verb == "validate":
        words += ["--report", str(tmp_path / "report")]
    done = subprocess.run(
        [sys.executable, "-m", "fabric", *words],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "HOME": str(tmp_path), "SSH_AUTH_SOCK": ""},
    )
    text = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == 4, text
    assert ("has CHANGED" if recorded == "known_hosts" else "is not 'attic'") in text
    assert rig.seen.passwords == []
    assert rig.seen.commands == []


def test_every_verb_is_tested() -> None:
    import fabfile

    assert set(VERBS) == {name for name in fabfile.namespace.task_names if "." not in name}

"""What `fab provision --cache` gives each rig, and what it reports."""

from __future__ import annotations

from pathlib import Path

import pytest

from provision.downloads.sharing import PORTS, Sharing, default_folder
from provision.inventory.hosts import Host
from provision.output.redaction import Redactor, secrets_of

HOSTS = [Host(f"rig{number}", {"nvidia_repository_url": "http://a/b/"}, ()) for number in range(9)]


@pytest.fixture
def sharing(tmp_path: Path) -> Sharing:
    return Sharing(tmp_path / "downloads")


def test_each_rig_has_its_port_and_its_token(sharing: Sharing) -> None:
    given = [sharing.introduce(host).variables for host in HOSTS]
    ports = {row["download_cache_port"] for row in given}
    tokens = {row["download_cache_token"] for row in given}
    assert len(ports) == len(tokens) == len(HOSTS)
    assert ports <= set(PORTS)
    assert all(len(token) >= 32 for token in tokens)
    assert all(row["nvidia_repository_url"] == "http://a/b/" for row in given)
    assert "download_cache_port" not in HOSTS[0].variables


def test_token_is_masked_in_output(sharing: Sharing) -> None:
    variables = sharing.introduce(HOSTS[0]).variables
    token = variables["download_cache_token"]
    assert token not in Redactor(secrets_of(variables)).text(f"plan: http://127.0.0.1/{token}/")


def test_folder_is_below_the_cache_of_the_user(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "deeprig/downloads"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_folder() == Path.home() / ".cache/deeprig/downloads"


def test_summary_names_the_folder_and_what_rigs_fetch_themselves(sharing: Sharing) -> None:
    for host in HOSTS[:2]:
        sharing.introduce(host)
    sharing.store.fetched = 3_000_000_000
    sharing.handouts["rig0"].note_sent(2_900_000_000)
    for reason in ("x is not below y", "x is not below y", "z is not below y"):
        sharing.handouts["rig1"].note_refusal(reason)
    sharing.refusals["rig1"] = "TCP forwarding request denied"
    first, second, third = sharing.summarize()
    assert "3.00 GB fetched, 2.90 GB handed to 1 of 2 rigs" in first
    assert str(sharing.store.folder) in first
    assert "rig1" in second
    assert "AllowTcpForwarding" in second
    assert third == "cache: rig1 fetches 2 files by itself: x is not below y"

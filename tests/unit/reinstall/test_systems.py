"""The systems of the table, their package sources, and what an image is made of."""

from __future__ import annotations

import pytest

from provision.errors import DeeprigError, SourceError
from provision.reinstall import systems
from provision.reinstall.keys import choose_keys
from provision.reinstall.network import write_network
from provision.reinstall.survey import parse_survey
from tests.unit.reinstall import answers


def test_every_system_has_what_boots_it() -> None:
    for system in systems.load_systems().values():
        assert {"grub-pc-bin", "grub-efi-amd64-bin", "initramfs-tools"} <= {*system.packages}
        assert any(name.startswith("linux-image-") for name in system.packages)


def test_unknown_system_is_refused_with_those_that_exist() -> None:
    with pytest.raises(SourceError) as refused:
        systems.find_system("gentoo")
    assert "debian13" in refused.value.advice


def test_sources_are_where_this_machine_has_its_own() -> None:
    listed = [
        "http://m.example/debian/|bookworm|main",
        "http://m.example/debian/|bookworm-updates|main",
        "http://m.example/debian-security/|bookworm-security|main",
        "http://m.example/debian/|bookworm-backports|main",
        "http://other.example/|/|",
    ]
    lines = systems.rename_sources(listed, "bookworm", systems.find_system("debian13"))
    assert [line.split()[1:3] for line in lines] == [
        ["http://m.example/debian/", "trixie"],
        ["http://m.example/debian/", "trixie-updates"],
        ["http://m.example/debian-security/", "trixie-security"],
    ]


def test_mirror_that_is_named_is_taken() -> None:
    (first, second) = systems.list_sources(
        systems.find_system("ubuntu24.04"), "http://m.example/ubuntu"
    )
    assert first == "deb http://m.example/ubuntu noble main restricted universe multiverse"
    assert second.split()[2] == "noble-updates"


def test_machine_of_another_distribution_is_told_to_name_a_mirror(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(systems, "_read_release", lambda: {"ID": "fedora"})
    with pytest.raises(DeeprigError) as refused:
        systems.list_sources(systems.find_system("debian13"))
    assert "reinstall_mirror" in refused.value.advice


def test_only_the_operators_keys_are_taken() -> None:
    authorized = ["ssh-ed25519 AAAAvendor", "ssh-rsa AAAAoperator", "ssh-rsa AAAAoperator"]
    assert choose_keys(authorized, {"AAAAoperator"}) == ("ssh-rsa AAAAoperator",)
    with pytest.raises(DeeprigError, match="none of your SSH keys"):
        choose_keys(authorized, {"AAAAother"})


def test_network_with_dhcp_asks_by_the_mac_address() -> None:
    (text,) = write_network(parse_survey(answers.write())).values()
    assert "MACAddress=02:00:00:00:00:01" in text
    assert "DHCP=yes" in text
    assert "ClientIdentifier=mac" in text


def test_network_with_a_static_address_keeps_it() -> None:
    survey = parse_survey(answers.write(address="eth0\t192.168.1.40/24\tstatic"))
    (text,) = write_network(survey).values()
    assert "DHCP" not in text
    for line in ("Address=192.168.1.40/24", "Gateway=192.168.1.1", "DNS=192.168.1.1"):
        assert line in text.splitlines()

"""A snapshot contains what the rig sent, and a malicious rig cannot write outside it."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from agent.readings import pcie
from provision.discovery.questions import evidence, questions
from provision.discovery.snapshot import Snapshot
from provision.discovery.survey import addresses
from provision.remote.facts.driver import find_library

PORT = "../../../devices/pci0000:00/0000:00:03.1"


def names(*rows: tuple[str, str, str, str]) -> bytes:
    return "".join("\t".join(row) + "\n" for row in rows).encode()


def archive(*members: tuple[str, str], links: tuple[tuple[str, str], ...] = ()) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, target in links:
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, target
            tar.addfile(link)
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o440
            tar.addfile(member, io.BytesIO(content.encode()))
    return gzip.compress(stream.getvalue())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "rig"
    folder.mkdir()
    return folder


def test_sysfs_links_are_followed(root: Path) -> None:
    tree = Snapshot(
        root,
        {
            "names": names(
                ("/sys/bus/pci/devices/0000:00:03.1", "l", "d", PORT),
                ("/sys/bus/pci/devices/0000:08:00.0", "l", "d", f"{PORT}/0000:08:00.0"),
                (
                    "/sys/bus/pci/devices/0000:08:00.0/driver",
                    "l",
                    "d",
                    "../../../../bus/pci/drivers/nvidia",
                ),
            ),
            "kernel": b"==> /sys/bus/pci/devices/0000:08:00.0/class <==\n0x030000\n\n"
            b"==> /sys/bus/pci/devices/0000:08:00.0/vendor <==\n0x10de\n\n"
            b"==> /sys/bus/pci/devices/0000:08:00.0/current_link_width <==\n4\n\n"
            b"==> /sys/bus/pci/devices/0000:00:03.1/class <==\n0x060400\n\n"
            b"==> /sys/bus/pci/devices/0000:00:03.1/current_link_width <==\n1\n",
        },
    )
    (gpu,) = pcie.read_gpus(tree.path("/sys"))
    assert gpu.driver == "nvidia"
    assert gpu.path_width == 1
    assert gpu.root_port == "0000:00:03.1"


def test_settings_keep_content_and_mode(root: Path) -> None:
    tree = Snapshot(root, {"settings": archive(("etc/hostname", "attic\n"))})
    assert tree.line("/etc/hostname") == "attic"
    assert (root / "etc/hostname").stat().st_mode & 0o777 == 0o640


def hard_links(*links: tuple[str, str], size: int = 1) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        member = tarfile.TarInfo("etc/a")
        member.size, member.mode = size, 0o640
        tar.addfile(member, io.BytesIO(b"x" * size))
        for name, target in links:
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.LNKTYPE, target
            tar.addfile(link)
    return gzip.compress(stream.getvalue())


def test_second_name_of_a_file_has_its_content(root: Path) -> None:
    # tar stores a file that it meets again, behind a link, as a hard link to the first name.
    links = (("lib/b", "etc/a"), ("lib/c", "lib/b"), ("lib/d", "etc/missing"), ("lib/e", "lib/e"))
    tree = Snapshot(root, {"settings": hard_links(*links)})
    assert [tree.text(f"/{name}") for name in ("etc/a", "lib/b", "lib/c")] == ["x", "x", "x"]
    assert not tree.exists("/lib/d")
    assert not tree.exists("/lib/e")


def test_links_cannot_fill_the_disk(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("provision.discovery.snapshot.MOST_UNPACKED", 20_000)
    links = [(f"lib/{number}", "etc/a") for number in range(100)]
    Snapshot(root, {"settings": hard_links(*links, size=4000)})
    sizes = [path.stat().st_size for path in root.rglob("*") if path.is_file()]
    assert sum(sizes) <= 20_000


def test_truncated_archive_gives_its_first_files(root: Path) -> None:
    whole = archive(("etc/hostname", "attic\n"), ("etc/fstab", "x" * 4_000_000))
    tree = Snapshot(root, {"settings": gzip.compress(gzip.decompress(whole)[:20_000])})
    assert tree.line("/etc/hostname") == "attic"


@pytest.mark.parametrize("path", ["/../../outside", "/etc/../../outside", "//../outside"])
def test_names_cannot_leave_the_snapshot(root: Path, path: str) -> None:
    (root.parent / "outside").write_text("mine")
    Snapshot(
        root,
        {
            "names": names((path, "f", "f", "")),
            "kernel": f"==> /sys{path} <==\nstolen\n".encode(),
            "settings": archive((path, "stolen")),
        },
    )
    assert (root.parent / "outside").read_text() == "mine"


@pytest.mark.parametrize("target", ["/", "..", "../..", "/etc", "../../../.."])
def test_links_cannot_leave_the_snapshot(root: Path, target: str) -> None:
    """Neither by name nor from an archive; writes through a link stay inside."""
    tree = Snapshot(
        root,
        {
            "names": names(("/sys/up", "l", "d", target)),
            "kernel": b"==> /sys/up/planted <==\nstolen\n",
            "settings": archive(
                ("etc/up/planted", "stolen"), links=(("etc/up", str(root.parent)),)
            ),
        },
    )
    planted = list(root.parent.rglob("planted"))
    assert all(path.resolve().is_relative_to(root) for path in planted)
    up = Path(tree.path("/sys/up"))
    assert up.resolve().is_relative_to(root.resolve())


def test_header_in_the_content_of_a_file_is_content(root: Path) -> None:
    """A rig cannot add files by a header within a file's content."""
    tree = Snapshot(
        root,
        {
            "kernel": b"==> /proc/cmdline <==\nquiet\n\n==> /proc/7/comm <==\nsh\n"
            b"\n==> /proc/cmdline <==\npci=noaer\n\n==> /etc/passwd <==\nx\n"
        },
    )
    assert tree.line("/proc/cmdline") == "quiet"
    assert not tree.exists("/etc/passwd")


def test_dangling_links_stay_dangling(root: Path) -> None:
    tree = Snapshot(root, {"names": names(("/lib/modules/6.1/build", "l", "N", "/usr/src/gone"))})
    assert tree.exists("/lib/modules/6.1/build")
    assert not Path(tree.path("/lib/modules/6.1/build")).exists()


def test_links_of_a_chain_come_in_any_order(root: Path) -> None:
    """The library of Debian's driver, by alternatives: the first row leads to a later row."""
    folder = "/usr/lib/x86_64-linux-gnu"
    links = (
        (f"{folder}/libnvidia-ml.so.1", "/etc/alternatives/nvidia--libnvidia-ml.so.1"),
        ("/etc/alternatives/nvidia--libnvidia-ml.so.1", f"{folder}/nvidia/current/l.so.1"),
        (f"{folder}/nvidia/current/l.so.1", "libnvidia-ml.so.590.48.01"),
    )
    rows = [(path, "l", "f", target) for path, target in links]
    real = f"{folder}/nvidia/current/libnvidia-ml.so.590.48.01"
    tree = Snapshot(root, {"names": names(*rows, (real, "f", "f", ""))})
    assert find_library(tree) == real


def test_root_disk_size_is_that_of_the_rig(root: Path) -> None:
    sizes = (
        b"Filesystem 1024-blocks Used Available Capacity Mounted on\n"
        b"/dev/sda1 7000000 5000000 2000000 72% /\n"
        b"Filesystem Inodes IUsed IFree IUse% Mounted on\n/dev/sda1 900 100 800 12% /\n"
    )
    usage = Snapshot(root, {"sizes": sizes}).usage("/")
    assert usage["size_total"] == 7_000_000 * 1024
    assert usage["size_available"] == 2_000_000 * 1024
    assert usage["inode_available"] == 800
    assert Snapshot(root, {}).usage("/") == {}


def test_snapshot_asks_for_every_mining_evidence() -> None:
    asked = questions()["names"]
    assert evidence()
    assert all(path in asked for path in evidence())


def test_only_readable_settings_of_homes_are_archived(root: Path, tmp_path: Path) -> None:
    home, secret = tmp_path / "home/a", tmp_path / "root"
    for folder in (home / ".ssh", home / ".config/autostart", secret / "systemd/user"):
        folder.mkdir(parents=True)
    (tmp_path / "home/b").mkdir()
    (secret / "authorized_keys").write_text("root's\n")
    (secret / "systemd/user/x.service").write_text("root's\n")
    (home / ".ssh/authorized_keys").write_text("ssh-ed25519 AAAA a\n")
    (home / ".config/autostart/x.desktop").write_text("Exec=x\n")
    (home / ".profile").symlink_to(secret / "authorized_keys")
    os.mkfifo(home / ".bashrc")
    with (home / ".xprofile").open("wb") as stream:
        stream.truncate(1 << 40)
    (tmp_path / "home/b/.ssh").symlink_to(secret)
    (tmp_path / "home/b/.config").symlink_to(secret)
    command = questions()["homes"].replace("cd /", f"cd {tmp_path}", 1)
    done = subprocess.run(["sh", "-c", command], capture_output=True, check=True, timeout=60)
    Snapshot(root, {"homes": done.stdout})
    taken = sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file())
    assert taken == ["home/a/.config/autostart/x.desktop", "home/a/.ssh/authorized_keys"]


def test_ipv4_and_ipv6_addresses_are_parsed() -> None:
    parsed = addresses(
        "1: lo    inet 127.0.0.1/8 scope host lo\\       valid_lft forever\n"
        "2: eth0    inet 10.0.0.5/24 metric 100 brd 10.0.0.255 scope global dynamic eth0\\  x\n"
        "2: eth0    inet6 fe80::1/64 scope link \\       valid_lft forever\n"
        "3: tun0    inet 10.8.0.2 peer 10.8.0.1/32 scope global tun0\n"
    )
    assert [(a.interface, a.address, a.prefix, a.scope) for a in parsed] == [
        ("lo", "127.0.0.1", 8, "host"),
        ("eth0", "10.0.0.5", 24, "global"),
        ("eth0", "fe80::1", 64, "link"),
        ("tun0", "10.8.0.2", 32, "global"),
    ]

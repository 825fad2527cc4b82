"""Invalid facts are an error of their rig only, for every verb that reads them."""

from __future__ import annotations

import contextlib
import io
import json
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from invoke.exceptions import Exit

from provision.boundary.facts import check_facts
from provision.cli.answers import show_answers
from provision.cli.flags import Flags
from provision.discovery import gather
from provision.discovery.snapshot import MOST_UNPACKED, Snapshot
from provision.errors import DeeprigError, ExitStatus
from provision.facts import command
from provision.inventory.hosts import Host
from provision.ssh.rig_sessions import Sessions
from tests.unit.cli.fleet import fleet
from tests.unit.facts.gathering import gather_facts
from tests.unit.hostile.fake_rig import connect, news

EVIL: list[Any] = [None, [], {}, -1, 1e308, True, "x", "{{ 7 * 7 }}", [[]], {"a": {"b": 1}}]
GPU_FACT: dict[str, Any] = {
    "address": "0000:06:00.0",
    "vendor_id": "0x10de",
    "device_id": "0x2204",
    "subsystem_vendor_id": "0x1043",
    "subsystem_id": "0x87b5",
    "revision": "0xa1",
    "driver": "nvidia",
    "numa_node": -1,
    "answers": True,
    "root_port": "0000:00:01.3",
    "path_width": 1,
    "path_max_width": 16,
    "path_speed_max_gts": 8.0,
    "path": [
        {
            "address": "0000:00:01.3",
            "kind": "root port",
            "vendor_id": "0x1022",
            "device_id": "0x1453",
            "current_width": 1,
            "max_width": 16,
            "current_speed_gts": 2.5,
            "max_speed_gts": 8.0,
            "errors": {"correctable": 3},
        }
    ],
    "bars": [{"region": 1, "start": 1 << 38, "size_bytes": 1 << 28, "largest_bytes": 1 << 35}],
}


def facts() -> dict[str, Any]:
    """Facts with something in every list."""
    ansible_facts = gather_facts()
    rig = ansible_facts["ansible_local"]["deeprig"]
    rig["gpus"] = [json.loads(json.dumps(GPU_FACT))]
    rig["miners"] = [{"kind": "cron", "name": "t-rex", "evidence": "/etc/crontab"}]
    rig["network"]["interfaces"] = [
        {"name": "eth0", "mac": "aa:bb:cc:dd:ee:ff", "addresses": ["10.0.0.5/24"]}
    ]
    return ansible_facts


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path to every value of a document."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        yield (*path, key)
        if isinstance(item, (dict, list)):
            yield from places(item, (*path, key))


def show(answer: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the output of `fab facts` for a rig with this answer and a valid one."""
    answers = {"odd": answer, "honest": {"changed": False, "ansible_facts": facts()}}

    def sessions(host: Host, *_: Any, **__: Any) -> Sessions:
        connection = connect(news((1, answers[host.name])))
        return Sessions(lambda ask: cast(Any, connection))

    monkeypatch.setattr(gather, "sessions_of", sessions)
    hosts = [Host(name, {}, ()) for name in answers]
    with contextlib.suppress(Exit):
        command.show_facts(fleet(hosts), Flags())
    captured = capsys.readouterr()
    return captured.out + captured.err


def test_valid_facts_are_unchanged() -> None:
    assert check_facts(facts()) == facts()


def test_every_fact_of_a_wrong_type_is_an_error() -> None:
    """Every place gets every odd value: it is accepted, or an error names the place."""
    rig = facts()["ansible_local"]["deeprig"]
    refused = 0
    for path in places(rig):
        for odd in EVIL:
            document = facts()
            target = document["ansible_local"]["deeprig"]
            for key in path[:-1]:
                target = target[key]
            target[path[-1]] = odd
            try:
                check_facts(document)
            except DeeprigError:
                refused += 1
    assert refused > 1000


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("boot_id",), "{{ cycler.__init__ }}"),
        (("network", "interfaces", 0, "name"), "{{ x }}"),
        (("network", "interfaces", 0, "name"), "eth0\nattic:"),
        (("network", "interfaces", 0, "mac"), "{{x}}"),
        (("network", "interfaces", 0, "addresses"), ["{{x}}"]),
        (("gpus", 0, "address"), "../../etc"),
        (("driver", "package_versions"), {"{{x}}": "1"}),
        (("driver", "loaded_version"), "1; rm -rf /"),
        (("usb_watchdogs",), [{"id": "x", "sysfs": "/s", "product": "", "sure": True}]),
        (("miners",), [{"kind": "cron", "name": "x", "evidence": "x" * 5000}]),
        (("workstation",), ["x"] * 5000),
    ],
)
def test_fact_formats_are_strict(path: tuple[Any, ...], value: Any) -> None:
    document = facts()
    target = document["ansible_local"]["deeprig"]
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    with pytest.raises(DeeprigError):
        check_facts(document)


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"ansible_facts": []},
        {"ansible_facts": {}},
        {"ansible_facts": {"ansible_local": {"deeprig": None}}},
        {"failed": True},
        {"ansible_facts": {"ansible_distribution": 5}},
    ],
)
def test_invalid_facts_do_not_hide_other_rigs(
    answer: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = show(answer, capsys, monkeypatch)
    assert "host: odd" in text
    assert "\nhonest\n" in f"\n{text}"
    assert "kernel" in text
    assert "deeprig itself failed" not in text


def test_internal_error_for_one_rig_does_not_hide_the_others(
    capsys: pytest.CaptureFixture[str],
) -> None:
    shown = []

    def show_one(name: str, answer: int) -> None:
        shown.append((name, 1 // answer))

    failed = show_answers({"first": 0, "second": 1}, show_one)
    assert shown == [("second", 1)]
    assert failed == ExitStatus.INTERNAL
    assert "host: first" in capsys.readouterr().err


def gzip_tar(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for info, content in members:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    packer = zlib.compressobj(9, wbits=31)
    return packer.compress(stream.getvalue()) + packer.flush()


def test_sparse_archive_member_takes_no_disk_space(tmp_path: Path) -> None:
    """94 bytes of an archive became a file of 4.1 GiB."""
    header = tarfile.TarInfo("etc/sparse")
    header.pax_headers = {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.name": "etc/sparse",
        "GNU.sparse.realsize": str(4 << 30),
    }
    content = b"1\n0\n0\n".ljust(512, b"\0")
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        header.size = len(content)
        tar.addfile(header, io.BytesIO(content))
    packer = zlib.compressobj(9, wbits=31)
    tree = Snapshot(tmp_path, {"settings": packer.compress(stream.getvalue()) + packer.flush()})
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) < 1 << 20
    assert tree.text("/etc/sparse") == ""


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, b"L", b"x"])
def test_archive_with_a_huge_header_takes_no_disk_space(kind: bytes, tmp_path: Path) -> None:
    """A file, a long name (GNU) and a header (pax) of 4 GiB, of which nothing follows."""
    header = tarfile.TarInfo("etc/large")
    header.type = kind
    header.size = 4 << 30
    packer = zlib.compressobj(9, wbits=31)
    content = packer.compress(header.tobuf(tarfile.GNU_FORMAT) + b"\0" * 2048) + packer.flush()
    Snapshot(tmp_path, {"settings": content})
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) < 1 << 20


@pytest.mark.slow
def test_archive_bomb_is_truncated(tmp_path: Path) -> None:
    packer = zlib.compressobj(9, wbits=31)
    header = tarfile.TarInfo("etc/large")
    header.size = 4 * MOST_UNPACKED
    parts = [packer.compress(header.tobuf())]
    parts += [packer.compress(b"\0" * (1 << 20)) for _ in range(4 * (MOST_UNPACKED >> 20))]
    Snapshot(tmp_path, {"settings": b"".join(parts) + packer.flush()})
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) < 1 << 20


def test_number_of_names_is_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("provision.discovery.snapshot.MOST_NAMES", 50)
    rows = "".join(f"/proc/{number}/exe\tl\tN\t/x\n" for number in range(500))
    members = [(tarfile.TarInfo(f"etc/{number}"), b"x") for number in range(500)]
    Snapshot(tmp_path, {"names": rows.encode(), "settings": gzip_tar(*members)})
    assert len([path for path in tmp_path.rglob("*") if not path.is_dir()]) <= 50

"""What preflight refuses and announces of a rig's packages, kernels and modules."""

from __future__ import annotations

from typing import Any

import pytest

from provision.inventory.yaml_source import YamlText
from tests.unit.playbooks.test_rig_variables import APT, DRIVER, KERNEL, templar

VENDOR = "https://developer.download.nvidia.com/compute/cuda/repos/ubuntu2204/x86_64"
KEYRING = "/usr/share/keyrings/nvidia-pinned-EB693B3035CD5710E231E123A4B469963BF863CC.asc"


def source(*uris: str, **changes: Any) -> dict[str, Any]:
    row = {
        "file": "/etc/apt/sources.list.d/x.list",
        "line": 1,
        "enabled": True,
        "types": ["deb"],
        "uris": list(uris),
        "suites": ["/"],
        "components": [],
        "options": {},
        "signed_by": "",
    }
    return {**row, **changes}


def pin(packages: str, text: str, priority: int, file: str = "/etc/apt/preferences.d/x") -> Any:
    return {"file": file, "packages": packages.split(), "pin": text, "priority": priority}


def repairs(**changes: Any) -> dict[str, str]:
    rows = templar(**changes).render(YamlText.given("{{ preflight_repairs }}"))
    return {row["name"]: " ".join(row["what"].split()) for row in rows if row["needed"]}


def refusals(**changes: Any) -> dict[str, str]:
    rows = templar(**changes).render(YamlText.given("{{ refusals }}"))
    return {row["name"]: " ".join(row["why"].split()) for row in rows if row["bad"]}


def test_a_rig_in_order() -> None:
    assert repairs() == {}
    assert refusals() == {}


@pytest.mark.parametrize(
    ("row", "is_conflict"),
    [
        (source(f"{VENDOR}/", signed_by="/usr/share/keyrings/cuda-archive-keyring.gpg"), True),
        (source(VENDOR.replace("https", "http")), True),  # the key in trusted.gpg
        (source("http://mirror.example", f"{VENDOR}//", signed_by="embedded key 1"), True),
        (source(VENDOR, signed_by=KEYRING), False),
        (source(VENDOR, enabled=False), False),
        (source(VENDOR, file="/etc/apt/sources.list.d/nvidia.sources", signed_by="x"), False),
        (source(VENDOR.replace("2204", "2004")), False),
        (source("https://nvidia.github.io/libnvidia-container/stable/deb/amd64"), False),
    ],
)
def test_entries_of_the_vendors_repository(row: dict[str, Any], is_conflict: bool) -> None:
    words = repairs(apt={**APT, "sources": [row]})
    assert ("vendor-entries" in words) is is_conflict
    if is_conflict:
        assert "/etc/apt/sources.list.d/x.list:1" in words["vendor-entries"]


OURS = source(VENDOR, file="/etc/apt/sources.list.d/nvidia.sources", signed_by=KEYRING)


def test_entry_beside_ours_is_switched_off() -> None:
    other = source(VENDOR, signed_by="/usr/share/keyrings/cuda-archive-keyring.gpg")
    apt = {**APT, "sources": [other, OURS]}
    assert templar(apt=apt).render(YamlText.given("{{ vendor_files_off }}")) == [other["file"]]
    assert refusals(apt=apt) == {}
    # Until ours is there apt works, and the driver step decides.
    apt = {**APT, "sources": [other]}
    assert templar(apt=apt).render(YamlText.given("{{ vendor_files_off }}")) == []


@pytest.mark.parametrize(
    ("first", "second", "is_refused"),
    [
        ({"signed_by": "/a.gpg"}, {"signed_by": "/b.gpg"}, True),
        ({"signed_by": "/a.gpg"}, {"signed_by": ""}, True),
        ({"signed_by": "/a.gpg"}, {"signed_by": "/a.gpg"}, False),
        ({"signed_by": "/a.gpg"}, {"signed_by": "/b.gpg", "enabled": False}, False),
        ({"signed_by": "/a.gpg"}, {"signed_by": "/b.gpg", "suites": ["other"]}, False),
    ],
)
def test_entries_of_one_repository_with_different_keys(
    first: dict[str, Any], second: dict[str, Any], is_refused: bool
) -> None:
    uri = "https://download.docker.com/linux/ubuntu"
    sources = [
        source(uri, **{"suites": ["jammy"], **first}),
        source(f"{uri}/", **{"suites": ["jammy"], "file": "/etc/apt/b.list", **second}),
    ]
    words = refusals(apt={**APT, "sources": sources})
    assert list(words) == (["sources"] if is_refused else [])
    if is_refused:
        assert "/etc/apt/sources.list.d/x.list:1 and /etc/apt/b.list:1" in words["sources"]


@pytest.mark.parametrize(
    ("row", "is_refused"),
    [
        (pin("nvidia-*", "release *", -1), True),
        (pin("*nvidia*", "version 470.*", 1001), True),
        (pin("cuda-drivers", "version 575*", 600), True),
        (pin("*", 'origin "developer.download.nvidia.com"', -10), True),
        (pin("*", "release l=NVIDIA CUDA", 600), False),  # cuda-repository-pin-600
        (pin("*nvidia* libcuda1", "version 580.*", 1000), False),  # nvidia-driver-pinning-580
        (pin("nvidia-open", "version 580.95.05-1", 1000), False),
        (pin("nvidia-*", "version 470.*", 100), False),
        (pin("nodejs", "origin deb.nodesource.com", 600), False),
        (pin("*", "release a=experimental", -1), False),
        (pin("nvidia-*", "version 570.*", 1001, "/etc/apt/preferences.d/nvidia-branch"), False),
    ],
)
def test_pins(row: dict[str, Any], is_refused: bool) -> None:
    words = refusals(apt={**APT, "pins": [row]})
    assert list(words) == (["pins"] if is_refused else [])
    if is_refused:
        assert "/etc/apt/preferences.d/x" in words["pins"]


def test_unfinished_packages() -> None:
    unfinished = [
        {"package": "nvidia-dkms-535", "version": "535.1-1", "state": "half-configured"},
        {"package": "man-db", "version": "2", "state": "triggers-pending"},
    ]
    driver = {**DRIVER, "packages": [{"name": "nvidia-dkms-535"}]}
    words = repairs(apt={**APT, "unfinished": unfinished}, driver=driver)
    assert list(words) == ["unfinished"]
    assert (
        "nvidia-dkms-535 535.1-1 (half-configured), man-db 2 (triggers-pending)"
        in (words["unfinished"])
    )
    assert words["unfinished"].endswith("where that fails, it removes nvidia-dkms-535")


def test_lock_and_interruption() -> None:
    lock = {"path": "/var/lib/dpkg/lock", "pid": 812, "program": "unattended-upgr"}
    words = repairs(apt={**APT, "lock": lock, "interrupted": True})
    assert set(words) == {"lock", "interrupted"}
    assert words["lock"].startswith("unattended-upgr (process 812) has locked /var/lib/dpkg/lock")


def setting(file: str, text: str, kind: str, line: int = 3) -> dict[str, Any]:
    row = {"file": file, "line": line, "text": text, "module": "nvidia", "kind": kind}
    return {**row, "parameters": [text] if kind == "command line" else []}


def test_settings_of_modules_are_repaired() -> None:
    row = setting("/etc/modprobe.d/x.conf", "blacklist nvidia", "blacklist")
    words = repairs(modules={"settings": [row]})
    assert "/etc/modprobe.d/x.conf:3 (blacklist nvidia)" in words["module-settings"]
    assert refusals(modules={"settings": [row]}) == {}


BLACKLIST = "modprobe.blacklist=nvidia"
RUNNING = setting("/proc/cmdline", BLACKLIST, "command line", 0)
SET = setting("/etc/default/grub", BLACKLIST, "command line", 7)
NEXT = {"release": "6.1", "headers": True, "arguments": []}


@pytest.mark.parametrize(
    ("rows", "following", "is_refused"),
    [
        pytest.param([SET, RUNNING], [BLACKLIST], False, id="in GRUB's settings"),
        pytest.param([RUNNING], [BLACKLIST], True, id="in an entry of others"),
        pytest.param([RUNNING], ["quiet"], False, id="until the next boot"),
        pytest.param([SET], ["quiet"], False, id="in a menu that was not written since"),
        pytest.param([RUNNING], None, True, id="of another boot loader"),
    ],
)
def test_settings_of_the_kernel_command_line(
    rows: list[dict[str, Any]], following: list[str] | None, is_refused: bool
) -> None:
    kernel: dict[str, Any] = {
        **KERNEL,
        "parameters": [BLACKLIST],
        "parameters_next": following or [],
        "boot": {**KERNEL["boot"], "next": None if following is None else NEXT},
    }
    changes: dict[str, Any] = {"modules": {"settings": rows}, "kernel": kernel}
    assert list(refusals(**changes)) == (["kernel-parameters"] if is_refused else [])
    words = repairs(**changes)["module-parameters"]
    assert f"{rows[0]['file']}" in words
    assert f"the run takes {BLACKLIST} out of GRUB's settings" in words
    removed = templar(**changes).render(YamlText.given("{{ parameters_removed }}"))
    assert BLACKLIST in removed


KERNEL_ROW: dict[str, Any] = {
    "bootable": True,
    "default": False,
    "headers": True,
    "meta_headers": [],
    "build_error": "",
}


def test_kernels() -> None:
    kernel = {**KERNEL_ROW, "default": True}
    rows = [
        {**kernel, "release": "6.1.0-30-amd64"},
        {**kernel, "release": "6.1.0-31-amd64", "headers": False},
        {**kernel, "release": "6.1.0-29-amd64", "headers": False, "bootable": False},
    ]
    words = repairs(kernels=rows)
    assert list(words) == ["next-kernel"]
    assert "for 6.1.0-31-amd64:" in words["next-kernel"]
    words = repairs(kernels=[{**kernel, "release": "6.1", "build_error": "fatal error: x.h"}])
    assert words["failed-build"].endswith("for 6.1: fatal error: x.h")


def test_headers_that_come_with_the_next_kernel() -> None:
    meta = {"package": "linux-headers-amd64", "version": "6.1.123-1", "installed": False}
    rows = [
        {**KERNEL_ROW, "release": "6.1.0-30-amd64", "headers": False},
        {**KERNEL_ROW, "release": "6.1.0-31-amd64", "meta_headers": [meta]},
        {**KERNEL_ROW, "release": "6.1.0-29-amd64", "headers": False, "bootable": False},
    ]
    words = repairs(kernels=rows)
    assert words["later-kernels"].endswith("the run installs linux-headers-amd64")
    wanted = templar(kernels=rows).render(YamlText.given("{{ headers_wanted }}"))
    assert wanted == ["linux-headers-6.1.0-30-amd64", "linux-headers-amd64=6.1.123-1"]
    rows[1]["meta_headers"] = [{**meta, "installed": True}]
    assert "later-kernels" not in repairs(kernels=rows)
    wanted = templar(kernels=rows).render(YamlText.given("{{ headers_wanted }}"))
    assert wanted == ["linux-headers-6.1.0-30-amd64"]


@pytest.mark.parametrize(
    ("holds", "named"),
    [
        (["nvidia-driver-580", "docker-ce"], ""),
        (["dkms", "linux-headers-generic", "gcc-12"], "dkms, linux-headers-generic, gcc-12"),
    ],
)
def test_holds(holds: list[str], named: str) -> None:
    words = repairs(apt={**APT, "holds": holds})
    assert words.get("holds", "").partition(" stay ")[0] == named


DEBIAN = {
    "distribution": "Debian",
    "distribution_version": "12",
    "distribution_release": "bookworm",
}


@pytest.mark.parametrize(
    ("components", "is_missing"),
    [(["main"], True), (["main", "contrib"], False), (["main", "non-free-firmware"], True)],
)
def test_components_that_the_driver_needs(components: list[str], is_missing: bool) -> None:
    row = source("http://deb.debian.org/debian", suites=["bookworm"], components=components)
    sources = [row, source("http://x.example", suites=["stable"], components=["main"])]
    assert ("components" in repairs(apt={**APT, "sources": sources}, **DEBIAN)) is is_missing
    assert "components" not in repairs(apt={**APT, "sources": sources})  # no source of Ubuntu's


@pytest.mark.parametrize(
    ("name", "by_hand", "value", "is_repaired"),
    [
        ("nvidia", True, "/usr/lib/nvidia/tesla-470", True),
        ("glx", True, "/usr/lib/mesa-diverted", True),
        ("nvidia", False, "/usr/lib/nvidia/tesla-470", False),
        ("nvidia", True, "/usr/lib/nvidia/current", False),
        ("glx", True, "/usr/lib/nvidia", False),
    ],
)
def test_another_driver_chosen_by_hand(
    name: str, by_hand: bool, value: str, is_repaired: bool
) -> None:
    alternatives = [{"name": name, "by_hand": by_hand, "value": value}]
    words = repairs(driver={**DRIVER, "alternatives": alternatives})
    assert ("alternatives" in words) is is_repaired
    assert not is_repaired or f"({value})" in words["alternatives"]


@pytest.mark.parametrize(
    ("version", "branch", "is_refused"),
    [("470.256.02", "auto", False), ("580.95.05", "auto", True), ("580.95.05", "590", False)],
)
def test_libraries_of_a_run_file_win_only_if_they_are_newer(
    version: str, branch: str, is_refused: bool
) -> None:
    library = {"library_version": version, "library_owner": "runfile"}
    words = refusals(driver={**DRIVER, **library}, nvidia_driver_branch=branch)
    assert ("runfile" in words) is is_refused


def test_pins_name_the_branch_that_they_keep_away() -> None:
    words = refusals(apt={**APT, "pins": [pin("*nvidia*", "release *", -1)]})
    assert "driver's branch 580 away" in words["pins"]


def test_parts_of_the_distribution_are_asked_before_they_are_added() -> None:
    main = {"suites": ["trixie", "trixie-updates"], "components": ["main"]}
    keys = "/usr/share/keyrings/debian-archive-keyring.gpg"
    sources = [
        source("http://mirror.example/debian", signed_by=keys, **main),
        source("file:/srv/mirror", options={"trusted": "yes"}, **main),
        source("http://ppa.example", suites=["stable"], components=["main"]),
        source("http://off.example", enabled=False, **main),
    ]
    rig: dict[str, Any] = {"distribution": "Debian", "distribution_release": "trixie"}
    values = templar(
        **rig, nvidia_driver_source="distribution", apt={**APT, "sources": sources}
    ).render(YamlText.given("{{ component_entries }}"))
    parts = "contrib non-free non-free-firmware"
    assert values == [
        f"deb [signed-by={keys}] http://mirror.example/debian trixie {parts}",
        f"deb [signed-by={keys}] http://mirror.example/debian trixie-updates {parts}",
        f"deb [trusted=yes] file:/srv/mirror trixie {parts}",
        f"deb [trusted=yes] file:/srv/mirror trixie-updates {parts}",
    ]
    have = [source("http://x.example", suites=["trixie"], components=["main", *parts.split()])]
    values = templar(
        **rig, nvidia_driver_source="distribution", apt={**APT, "sources": have}
    ).render(YamlText.given("{{ component_entries }}"))
    assert values == []

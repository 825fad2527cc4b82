"""Kernels with their headers, modules and failed builds, as DKMS and depmod leave them."""

from __future__ import annotations

import lzma
import struct
from pathlib import Path
from typing import Any

import pytest

from provision.remote import dpkg
from provision.remote.facts.boot import boot
from provision.remote.facts.kernels import KernelRow, last_error_lines, read_kernels
from provision.remote.facts.tree import Tree
from tests.unit.facts.test_boot import menu
from tests.unit.modules.rig import create_files, write_packages

OLD, NEW = "6.1.0-30-amd64", "6.1.0-31-amd64"
MENU = {"boot/grub/grub.cfg": menu("0", NEW, OLD)}
DKMS = "var/lib/dkms/nvidia"
FAILED = f"""DKMS make.log for nvidia-580.95.05 for kernel {NEW} (x86_64)
Sun Nov 29 16:10:01 UTC 2026
make[1]: Entering directory '/usr/src/linux-headers-{NEW}'
  CC [M]  /var/lib/dkms/nvidia/580.95.05/build/nvidia/nv.o
/var/lib/dkms/nvidia/580.95.05/build/nvidia/nv.c:73:10: fatal error: linux/fs_struct.h: No such file
compilation terminated.
make[3]: *** [scripts/Makefile.build:250: /var/lib/dkms/nvidia/nv.o] Error 1
make[1]: Leaving directory '/usr/src/linux-headers-{NEW}'
make: *** [Makefile:82: modules] Error 2
"""


def module(version: str) -> bytes:
    """Return a 64-bit ELF file with a section .modinfo, as a kernel's module has it."""
    names = b"\0.shstrtab\0.modinfo\0"
    info = b"license=Dual MIT/GPL\0srcversion=ABC\0version=" + version.encode() + b"\0"
    body = b"\x7fELF\2\1\1".ljust(64, b"\0")
    table = len(body) + len(names) + len(info)
    header = body[:40] + struct.pack("<Q10xHHH", table, 64, 3, 1)
    rows = ((0, 0, 0), (1, 64, len(names)), (11, 64 + len(names), len(info)))
    sections = b"".join(struct.pack("<I20xQQ", *row).ljust(64, b"\0") for row in rows)
    return header + names + info + sections


def kernels(
    root: Path, files: dict[str, Any], *versions: str, packages: dict[str, Any] | None = None
) -> dict[str, KernelRow]:
    binary = {name: value for name, value in files.items() if isinstance(value, bytes)}
    create_files(root, {name: value for name, value in files.items() if name not in binary})
    for name, content in binary.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    write_packages(root, packages or {})
    database = dpkg.Database((root / "var/lib/dpkg/status").read_text())
    tree = Tree(str(root))
    rows = read_kernels(tree, database, boot(tree), OLD, versions)
    return {row["release"]: row for row in rows}


def test_kernels_of_the_menu_and_of_the_disk(tmp_path: Path) -> None:
    states = kernels(
        tmp_path,
        {
            **MENU,
            f"boot/vmlinuz-{NEW}": "",
            f"boot/vmlinuz-{OLD}": "",
            f"boot/vmlinuz-{OLD}.old": "",
            "boot/vmlinuz-rescue": "",
            f"lib/modules/{OLD}/build": {"link": f"/usr/src/linux-headers-{OLD}"},
            f"usr/src/linux-headers-{OLD}/Makefile": "",
            f"lib/modules/{NEW}/build": {"link": f"/usr/src/linux-headers-{NEW}"},
            "lib/modules/5.10.0-8-amd64/updates/dkms/nvidia.ko": "",  # of a kernel that is gone
            "lib/modules/6.9.0-x/kernel/x.ko": "",
        },
        packages={f"linux-image-{OLD}": "1", f"linux-image-unsigned-{NEW}": "1"},
    )
    summary = {
        release: (row["bootable"], row["default"], row["headers"], row["package"])
        for release, row in states.items()
    }
    assert summary == {
        NEW: (True, True, False, f"linux-image-unsigned-{NEW}"),
        OLD: (True, False, True, f"linux-image-{OLD}"),
        "6.9.0-x": (False, False, False, None),
    }


def test_without_a_menu_every_image_may_boot(tmp_path: Path) -> None:
    states = kernels(tmp_path, {f"boot/vmlinuz-{OLD}": "", f"boot/vmlinuz-{NEW}": ""})
    assert [(row["bootable"], row["default"]) for row in states.values()] == [
        (True, True),
        (True, False),
    ]


def dkms(release: str, version: str, name: str = "nvidia") -> dict[str, Any]:
    return {f"var/lib/dkms/{name}/{version}/{release}/x86_64/module/{name}.ko.xz": "compressed"}


def place(path: str, content: str | bytes = "compressed") -> dict[str, Any]:
    return {f"lib/modules/{NEW}/{path}": content}


@pytest.mark.parametrize(
    ("files", "versions", "expected"),
    [
        pytest.param({}, ["580.95.05"], None, id="none"),
        pytest.param(
            place("updates/dkms/nvidia.ko", module("580.95.05")), [], "580.95.05", id="elf"
        ),
        pytest.param(
            {**place("updates/dkms/nvidia.ko.xz"), **dkms(NEW, "580.95.05")},
            [],
            "580.95.05",
            id="record",
        ),
        pytest.param(
            {**place("updates/dkms/nvidia.ko.xz"), **dkms(NEW, "470.1"), **dkms(NEW, "580.95.05")},
            ["470.1"],
            "470.1",
            id="the record of the installed driver",
        ),
        pytest.param(
            place("updates/dkms/nvidia.ko.xz", lzma.compress(module("535.1"))), [], "535.1", id="xz"
        ),
        pytest.param(
            place("updates/dkms/nvidia-current.ko", module("535.247.01")),
            [],
            "535.247.01",
            id="debian",
        ),
        *(
            pytest.param(place(f"updates/dkms/{name}.ko", module("1.2")), [], "1.2", id=name)
            for name in ("nvidia-current-open", "nvidia-tesla-470", "nvidia-legacy-390xx")
        ),
        pytest.param(
            place("updates/dkms/nvidia-current-open-uvm.ko", module("1.2")), [], None, id="helper"
        ),
        # Drivers of Debian beside each other: a file that alternatives choose names the module.
        *(
            pytest.param(
                {
                    **place("updates/dkms/nvidia-current.ko", module("535.1")),
                    **place("updates/dkms/nvidia-tesla-470.ko", module("470.1")),
                    **dkms(NEW, "535.1", "nvidia-current"),
                    **dkms(NEW, "470.1", "nvidia-tesla-470"),
                    "etc/modprobe.d/nvidia.conf": f"install nvidia modprobe -i {name} $OPTS\n"
                    f"install nvidia-uvm modprobe nvidia ; modprobe -i {name}-uvm $OPTS\n",
                },
                ["535.1", "470.1"],
                version,
                id=f"{name} is chosen",
            )
            for name, version in (("nvidia-current", "535.1"), ("nvidia-tesla-470", "470.1"))
        ),
        pytest.param(
            {**place("updates/dkms/nvidia.ko.zst"), **dkms(NEW, "595.71.05", "nvidia-srv")},
            [],
            "595.71.05",
            id="record by another name",
        ),
        pytest.param(
            place("kernel/nvidia-580/nvidia.ko.zst"),
            ["535.1", "580.95.05"],
            "580.95.05",
            id="precompiled",
        ),
        pytest.param(
            place("kernel/nvidia-580/nvidia.ko.zst"), [], "580", id="precompiled, no package"
        ),
        pytest.param(
            place("kernel/drivers/video/nvidia.ko", module("535.1")), [], "535.1", id=".run"
        ),
        pytest.param(
            place("weak-updates/nvidia/nvidia.ko", module("535.1")), [], "535.1", id="weak"
        ),
        pytest.param(
            place("updates/dkms/nvidia.ko", b"\x7fELF\2\1 cut off"), ["580.1"], "580.1", id="torn"
        ),
        pytest.param(
            place("updates/dkms/nvidia-uvm.ko", module("580.1")), [], None, id="uvm alone"
        ),
        pytest.param(
            place("kernel/drivers/video/fbdev/nvidia/nvidiafb.ko", module("1")), [], None, id="fb"
        ),
        pytest.param(
            {
                **place(
                    "modules.dep",
                    "updates/dkms/nvidia-uvm.ko: updates/dkms/nvidia.ko\n"
                    "updates/dkms/nvidia.ko:\nkernel/x.ko:\n",
                ),
                **place("updates/dkms/nvidia.ko", module("580.95.05")),
                **place("extra/nvidia.ko", module("470.1")),
            },
            [],
            "580.95.05",
            id="depmod",
        ),
        pytest.param(
            {
                **place("modules.dep", "kernel/drivers/video/fbdev/nvidiafb.ko: kernel/x.ko\n"),
                **place("updates/dkms/nvidia.ko", module("580.95.05")),
            },
            [],
            None,
            id="built, and depmod did not run",
        ),
    ],
)
def test_module_of_a_kernel(
    tmp_path: Path, files: dict[str, Any], versions: list[str], expected: str | None
) -> None:
    states = kernels(tmp_path, {**MENU, **files, **dkms(OLD, "1.1")}, *versions)
    assert states[NEW]["nvidia_modules"] == expected
    assert states[OLD]["nvidia_modules"] is None


@pytest.mark.parametrize(
    "first",
    [
        f"DKMS make.log for nvidia-580.95.05 for kernel {NEW} (x86_64)",
        f"DKMS (dkms-3.2.1) make.log for nvidia/580.95.05 for kernel {NEW} (x86_64)",
    ],
)
def test_error_of_a_build(tmp_path: Path, first: str) -> None:
    log = "\n".join([first, *FAILED.splitlines()[1:]])
    states = kernels(tmp_path, {**MENU, f"{DKMS}/580.95.05/build/make.log": log})
    assert "fatal error: linux/fs_struct.h" in states[NEW]["build_error"]
    assert states[OLD]["build_error"] == ""
    # What was built later is right.
    states = kernels(tmp_path, place("updates/dkms/nvidia.ko", module("580.95.05")))
    assert states[NEW]["build_error"] == ""


def test_last_error_lines() -> None:
    assert last_error_lines(FAILED).splitlines()[0].endswith("No such file")
    assert "Leaving" not in last_error_lines(FAILED)
    assert last_error_lines("a\nb\n\n") == "a\nb"
    assert len(last_error_lines("x: error: y\n" * 90).splitlines()) == 5
    assert last_error_lines("") == ""


#: Of a real build of 470.256.02 for 6.12.117, with fewer options; Debian's packages print commands.
TOO_NEW = """
  if x86_64-linux-gnu-nm nv-vm.o 2>/dev/null | grep -q ' __export_symbol_'; then  gcc-12 -E -D__KERNEL__ -Wno-error -I./include nv-vm.c; fi
   x86_64-linux-gnu-gcc-12 -Wp,-MMD,.os-mlock.o.d -nostdinc -I./include -Werror=return-type -Wno-error -c -o os-mlock.o os-mlock.c
build/common/inc/nv-linux.h:666:51: warning: suggest braces around empty body [-Wempty-body]
build/nvidia/os-mlock.c: In function 'nv_follow_pfn':
build/nvidia/os-mlock.c:23:12: error: implicit declaration of function 'follow_pfn'; did you mean 'folio_pfn'? [-Werror=implicit-function-declaration]
   23 |     return follow_pfn(vma, address, pfn);
cc1: some warnings being treated as errors
make[4]: *** [scripts/Makefile.build:234: build/nvidia/os-mlock.o] Error 1
make[4]: *** Waiting for unfinished jobs....
  if x86_64-linux-gnu-nm os-interface.o 2>/dev/null; then gcc-12 -E -D__GENKSYMS__ -Wp,-MMD,x -Wno-error -D__KERNEL__ os-interface.c; fi
make[3]: *** [Makefile:2008: build] Error 2
make: *** [Makefile:80: modules] Error 2
"""  # noqa: E501


def test_commands_with_options_for_errors_are_not_the_reason() -> None:
    (line,) = last_error_lines(TOO_NEW).splitlines()
    assert line.startswith("build/nvidia/os-mlock.c:23:12: error: implicit declaration")


def test_long_lines_are_cut_off() -> None:
    assert len(last_error_lines("x: error: " + "y" * 9999)) == 400

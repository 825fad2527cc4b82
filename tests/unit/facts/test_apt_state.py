"""The facts of packages, kernels and modules as a whole pass the boundary to the operator."""

from __future__ import annotations

from pathlib import Path

from provision.boundary.facts import check_rig_facts
from provision.remote import dpkg
from provision.remote.facts.rig import rig
from provision.remote.facts.tree import Tree
from tests.unit.facts.test_boot import menu
from tests.unit.modules.rig import create_files

STATUS = """\
Package: nvidia-smi
Status: install reinstreq half-installed
Architecture: amd64

Package: nvidia-dkms-535
Status: hold ok half-configured
Architecture: amd64
Version: 1:535.247.01-0ubuntu1
Maintainer: Ubuntu Core Developers <x@lists.ubuntu.com>

Package: linux-image-6.1.0-31-amd64
Status: install ok installed
Architecture: amd64
Version: 6.1.128-1
"""


def test_facts_of_a_rig_on_which_everything_is_wrong(tmp_path: Path) -> None:
    create_files(
        tmp_path,
        {
            "var/lib/dpkg/status": STATUS,
            "var/lib/dpkg/lock": "",
            "var/lib/dpkg/updates/0001": "Package: xz\nStatus: install ok unpacked\n",
            "etc/apt/sources.list": "deb [arch=amd64 trusted=yes] http://me:pw@x.example/ y z\n",
            "etc/apt/sources.list.d/a.sources": "Types: deb\nURIs: https://x.example\nSuites: /\n"
            "Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n abc\n",
            "etc/apt/preferences": "Package: *\nPin: release a=x\nPin-Priority: -1\n",
            "etc/modprobe.d/x.conf": "blacklist nvidia\n",
            "proc/cmdline": "module_blacklist=nvidia\n",
            "boot/grub/grub.cfg": menu("0", "6.1.0-31-amd64"),
            "lib/modules/6.1.0-31-amd64/kernel/nvidia-580/nvidia.ko.zst": "",
            "lib/modules/5.15.0-1/kernel/x.ko": "",
            "var/lib/dkms/nvidia/535.1/build/make.log": "DKMS make.log for nvidia-535.1 for kernel "
            "5.15.0-1 (x86_64)\nerror: x\n",
        },
    )
    inode = (tmp_path / "var/lib/dpkg/lock").stat().st_ino
    create_files(tmp_path, {"proc/locks": f"1: POSIX  ADVISORY  WRITE 7 08:01:{inode} 0 EOF\n"})
    facts = check_rig_facts(rig(Tree(str(tmp_path)), dpkg.Database(STATUS), []))
    apt = facts["apt"]
    assert "pw" not in str(facts)
    assert apt["lists_age_seconds"] is None
    assert apt["lists_missing"] == ["http://x.example/ y", "https://x.example /"]
    assert apt["lock"] == {"path": "/var/lib/dpkg/lock", "pid": 7, "program": "a process"}
    assert apt["interrupted"]
    assert apt["holds"] == ["nvidia-dkms-535"]
    assert [row["package"] for row in apt["unfinished"]] == ["nvidia-dkms-535", "nvidia-smi", "xz"]
    assert facts["driver"]["packages"] == [
        {
            "name": "nvidia-dkms-535",
            "version": "1:535.247.01-0ubuntu1",
            "state": "half-configured",
            "origin": "distribution",
        },
        {"name": "nvidia-smi", "version": None, "state": "reinst-required", "origin": "local"},
    ]
    assert [(row["release"], row["nvidia_modules"]) for row in facts["kernels"]] == [
        ("5.15.0-1", None),
        ("6.1.0-31-amd64", "580"),
    ]
    assert facts["kernels"][0]["build_error"] == "error: x"
    assert len(facts["modules"]["settings"]) == 2

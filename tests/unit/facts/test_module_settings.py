"""Lines that keep the driver from its GPUs, and lines of the same files that do not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from provision.remote.facts.module_settings import read_module_settings
from provision.remote.facts.tree import Tree
from tests.unit.modules.rig import create_files

CONF = "etc/modprobe.d/x.conf"
GRUB = "etc/default/grub"


def rows(root: Path, files: Mapping[str, object]) -> list[tuple[str, int, str, str]]:
    create_files(root, files)
    settings = read_module_settings(Tree(str(root)))
    return [(row["file"], row["line"], row["module"], row["kind"]) for row in settings]


@pytest.mark.parametrize(
    ("path", "text", "module", "kind"),
    [
        (CONF, "blacklist nvidia", "nvidia", "blacklist"),
        (CONF, "  blacklist\tnvidia  ", "nvidia", "blacklist"),
        (CONF, "blacklist nvidia-current", "nvidia_current", "blacklist"),
        (CONF, "blacklist nvidia-current-open", "nvidia_current_open", "blacklist"),
        (CONF, "blacklist nvidia-tesla-470-uvm", "nvidia_tesla_470_uvm", "blacklist"),
        (CONF, "blacklist nvidia-legacy-390xx", "nvidia_legacy_390xx", "blacklist"),
        (CONF, "blacklist nvidia_uvm", "nvidia_uvm", "blacklist"),
        (CONF, "blacklist nvidia_535", "nvidia_535", "blacklist"),
        (CONF, "install nvidia /bin/false", "nvidia", "install"),
        (CONF, "install nvidia /usr/bin/true # off", "nvidia", "install"),
        (CONF, "install nvidia-uvm \\\n  /bin/false", "nvidia_uvm", "install"),
        (CONF, "alias nvidia off", "nvidia", "alias"),
        (
            CONF,
            "alias pci:v000010DEd*sv*sd*bc03sc0[0-2]i* off",
            "pci:v000010DEd*sv*sd*bc03sc0[0_2]i*",
            "alias",
        ),
        (CONF, "options vfio-pci ids=10de:2204,10de:1aef", "vfio_pci", "vfio"),
        (CONF, "options vfio-pci disable_vga=1 ids=1002:67df,10DE:2204", "vfio_pci", "vfio"),
        (CONF, "options pci-stub ids=10de:2204", "pci_stub", "vfio"),
        (CONF, "softdep nvidia pre: vfio-pci", "nvidia", "softdep"),
        ("etc/initramfs-tools/modules", "vfio_pci ids=10de:2204", "vfio_pci", "load"),
        ("etc/modules", "vfio-pci ids=10de:2204", "vfio_pci", "load"),
        ("etc/modules-load.d/v.conf", "vfio-pci ids=10de:2204", "vfio_pci", "load"),
        (
            GRUB,
            'GRUB_CMDLINE_LINUX="modprobe.blacklist=nouveau,nvidia quiet"',
            "nvidia",
            "command line",
        ),
        (GRUB, "GRUB_CMDLINE_LINUX_DEFAULT=module_blacklist=nvidia", "nvidia", "command line"),
        (
            f"{GRUB}.d/50-x.cfg",
            'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX vfio-pci.ids=10de:1b06"',
            "vfio_pci",
            "command line",
        ),
    ],
)
def test_lines_that_keep_the_driver_away(
    tmp_path: Path, path: str, text: str, module: str, kind: str
) -> None:
    content = f"# A comment\n\n{text}\noptions loop max_loop=8\n"
    assert rows(tmp_path, {path: content}) == [(f"/{path}", 3, module, kind)]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (CONF, "# blacklist nvidia"),
        (CONF, "blacklist nouveau"),
        (CONF, "blacklist nvidiafb"),  # the distribution's blacklist-framebuffer.conf
        (CONF, "blacklist i2c_nvidia_gpu"),
        (CONF, "blacklist nvidia_drm"),  # CUDA does without
        (CONF, "options nvidia NVreg_PreserveVideoMemoryAllocations=1"),
        (CONF, "options nvidia-drm modeset=1"),
        (CONF, "options vfio-pci ids=1002:67df"),
        (CONF, "install nvidia modprobe -i nvidia-current $CMDLINE_OPTS"),  # Debian's
        (CONF, "alias nvidia nvidia-current"),
        (CONF, "alias nouveau off"),
        (CONF, "alias lbm-nouveau off"),
        (CONF, "softdep nvidia post: nvidia-uvm"),
        (CONF, "softdep nouveau pre: vfio-pci"),
        (CONF, "remove nvidia modprobe -r -i nvidia-drm nvidia"),
        (CONF, "install"),
        (CONF, "blacklist"),
        ("etc/modprobe.d/x.conf.bak", "blacklist nvidia"),
        ("etc/modprobe.d/README", "blacklist nvidia"),
        ("etc/modules", "vfio-pci"),
        ("etc/modules", "nvidia"),
        (GRUB, "#GRUB_CMDLINE_LINUX=modprobe.blacklist=nvidia"),
        (GRUB, 'GRUB_CMDLINE_LINUX="modprobe.blacklist=nouveau"'),
    ],
)
def test_lines_that_do_not(tmp_path: Path, path: str, text: str) -> None:
    assert rows(tmp_path, {path: f"{text}\n"}) == []


def test_a_file_replaces_those_of_its_name_in_later_folders(tmp_path: Path) -> None:
    files = {
        "usr/lib/modprobe.d/a.conf": "blacklist nvidia\n",
        "run/modprobe.d/a.conf": "",
        "etc/modprobe.d/b.conf": {"link": "/dev/null"},
        "lib/modprobe.d/b.conf": "install nvidia /bin/false\n",
        "usr/local/lib/modprobe.d/c.conf": "blacklist nvidia\n",
        "lib/modprobe.d/d.conf": "\nblacklist nvidia\n",
    }
    assert rows(tmp_path, files) == [
        ("/usr/local/lib/modprobe.d/c.conf", 1, "nvidia", "blacklist"),
        ("/lib/modprobe.d/d.conf", 2, "nvidia", "blacklist"),
    ]


def test_the_running_command_line_has_no_line_number(tmp_path: Path) -> None:
    text = "BOOT_IMAGE=/vmlinuz root=UUID=1 ro modprobe.blacklist=nvidia,nvidia_uvm quiet"
    assert rows(tmp_path, {"proc/cmdline": f"{text}\n"}) == [
        ("/proc/cmdline", 0, "nvidia", "command line")
    ]


@pytest.mark.parametrize(
    ("words", "parameters"),
    [
        ("modprobe.blacklist=nvidia", ["modprobe.blacklist=nvidia"]),
        (
            "module_blacklist=nouveau,nvidia,nvidia-uvm",
            ["module_blacklist=nvidia", "module_blacklist=nvidia-uvm"],
        ),
        (
            "vfio-pci.ids=10DE:2204,1b21:0612,10de:1aef",
            ["vfio-pci.ids=10DE:2204", "vfio-pci.ids=10de:1aef"],
        ),
        ("pci-stub.ids=10de:1b06", ["pci-stub.ids=10de:1b06"]),
    ],
)
def test_parameters_that_must_go(tmp_path: Path, words: str, parameters: list[str]) -> None:
    create_files(tmp_path, {"proc/cmdline": f"ro {words} quiet\n"})
    (row,) = read_module_settings(Tree(str(tmp_path)))
    assert (row["text"], row["parameters"]) == (words, parameters)


def test_a_file_with_two_names_is_read_once(tmp_path: Path) -> None:
    files = {
        "etc/modules": "vfio-pci ids=10de:1\n",
        "etc/modules-load.d/modules.conf": {"link": "../modules"},
    }
    assert len(rows(tmp_path, files)) == 1

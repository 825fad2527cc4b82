"""Settings that keep the NVIDIA driver from its GPUs, each with its file and line.

A module may be blacklisted, installed by a command that fails, without an alias, or without GPUs
because vfio-pci takes them first. The driver's packages and DKMS bring settings for nouveau and for
the driver's own options: these are not listed.
Source: modprobe.d(5), modules-load.d(5), initramfs-tools(7), the kernel's module_blacklist=.
"""

from __future__ import annotations

import re
from typing import Iterable, Iterator, TypedDict

from agent.readings.command_line import list_parameters
from provision.remote.facts.setting_files import list_settings
from provision.remote.facts.tree import Tree

INITRAMFS = ("/etc/initramfs-tools/modules", "/etc/initramfs-tools/conf.d/modules")
CLASSIC = "/etc/modules"  # of Debian; /etc/modules-load.d/modules.conf is often a link to it
GRUB = ("/etc/default/grub", "/etc/default/grub.d/*.cfg")
COMMAND_LINE = "/proc/cmdline"
#: What CUDA needs; a rig without a screen may well keep nvidia_drm and nvidia_modeset away.
#: Debian's drivers have other names: nvidia_current, nvidia_current_open, nvidia_tesla_470_uvm.
NVIDIA = re.compile(r"nvidia(?:_current|_tesla|_legacy)?(?:_\d+(?:xx)?)?(?:_open)?(?:_uvm)?$")
PASS_THROUGH = re.compile(r"vfio[_-]pci$|pci[_-]stub$")
NVIDIA_IDS = re.compile(r"\bids=\S*10de:", re.IGNORECASE)
#: Programs that do nothing: a module that is installed by them stays away.
NOTHING = re.compile(r"(?:/usr)?(?:/bin/)?(?:false|true|:)\b")
BLACKLISTS = re.compile(r"(?:^|[\s\"'=])((?:modprobe\.blacklist|module_blacklist)=[^\s\"']+)")
PASSED_IDS = re.compile(r"(?:^|[\s\"'=])((?:vfio[_-]pci|pci[_-]stub)\.ids=\S*10de:[^\s\"']*)")
#: Of which devices a kernel's alias speaks: GPUs of NVIDIA's.
GPU_ALIAS = re.compile(r"pci:v000010DEd.*bc03|pci:v000010DEd\S*sc0[02]", re.IGNORECASE)


class ModuleSettingRow(TypedDict):
    """A line that keeps a module away, or gives the GPUs to another one.

    kind: blacklist, install, alias, vfio, softdep, load or command line. line: from 1 on; 0 for
    /proc/cmdline. parameters: of a command line, each option of a list that must go, with the
    name of its parameter (vfio-pci.ids=10de:2204).
    """

    file: str
    line: int
    text: str
    module: str
    kind: str
    parameters: list[str]


def read_module_settings(tree: Tree) -> list[ModuleSettingRow]:
    """Return the settings that keep the driver from its GPUs."""
    rows: list[ModuleSettingRow] = []
    for path in list_settings(tree, "modprobe.d", ".conf"):
        rows += _settings(path, tree.text(path))
    lists = [*list_settings(tree, "modules-load.d", ".conf"), *INITRAMFS, CLASSIC]
    for path in lists:
        rows += _loaded(path, tree.text(path))
    for path in (path for pattern in GRUB for path in tree.glob(pattern)):
        for number, line in _numbered(tree.text(path)):
            if line.lstrip().startswith("GRUB_CMDLINE"):
                rows += _parameters(path, number, line)
    rows += _parameters(COMMAND_LINE, 0, tree.line(COMMAND_LINE))
    return _without_copies(tree, rows)


def _numbered(text: str) -> Iterator[tuple[int, str]]:
    """Yield lines with their numbers, continued lines joined, comments and empty ones left out."""
    joined, start = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        start = start or number
        if line.endswith("\\"):
            joined += f"{line[:-1]} "
            continue
        whole = (joined + line).strip()
        if whole and not whole.startswith("#"):
            yield start, whole
        joined, start = "", 0


def _settings(path: str, text: str) -> Iterator[ModuleSettingRow]:
    for number, line in _numbered(text):
        words = line.split()
        command, name, rest = words[0], "".join(words[1:2]), " ".join(words[2:])
        module = name.replace("-", "_")
        kind = ""
        if command == "blacklist" and NVIDIA.match(module):
            kind = "blacklist"
        elif command == "install" and NVIDIA.match(module) and NOTHING.match(rest):
            kind = "install"
        elif command == "alias" and rest == "off":
            kind = "alias" if NVIDIA.match(module) or GPU_ALIAS.match(name) else ""
        elif command == "options" and PASS_THROUGH.match(name) and NVIDIA_IDS.search(rest):
            kind = "vfio"
        elif command == "softdep" and NVIDIA.match(module):
            before = rest.partition("pre:")[2].partition("post:")[0].split()
            kind = "softdep" if any(PASS_THROUGH.match(word) for word in before) else ""
        if kind:
            yield _row(path, number, line, module, kind)


def _loaded(path: str, text: str) -> Iterator[ModuleSettingRow]:
    """Yield lines that load a driver for pass-through and give it NVIDIA's ids."""
    for number, line in _numbered(text):
        name, _, rest = line.partition(" ")
        if PASS_THROUGH.match(name) and NVIDIA_IDS.search(rest):
            yield _row(path, number, line, name.replace("-", "_"), "load")


def _parameters(path: str, number: int, line: str) -> Iterator[ModuleSettingRow]:
    for text in BLACKLISTS.findall(line):
        parameters = [
            parameter
            for parameter in list_parameters([text])
            if NVIDIA.match(parameter.partition("=")[2].replace("-", "_"))
        ]
        if parameters:
            module = parameters[0].partition("=")[2].replace("-", "_")
            yield _row(path, number, text, module, "command line", parameters)
    for text in PASSED_IDS.findall(line):
        parameters = [word for word in list_parameters([text]) if "=10de:" in word.lower()]
        module = text.partition(".")[0].replace("-", "_")
        yield _row(path, number, text, module, "command line", parameters)


def _row(
    path: str, number: int, text: str, module: str, kind: str, parameters: Iterable[str] = ()
) -> ModuleSettingRow:
    return {
        "file": path,
        "line": number,
        "text": text,
        "module": module,
        "kind": kind,
        "parameters": list(parameters),
    }


def _without_copies(tree: Tree, rows: Iterable[ModuleSettingRow]) -> list[ModuleSettingRow]:
    """Return the rows without those of a file that is also read by another name."""
    unique: dict[tuple[str, int, str], ModuleSettingRow] = {}
    for row in rows:
        unique.setdefault((tree.resolve(row["file"]), row["line"], row["text"]), row)
    return list(unique.values())

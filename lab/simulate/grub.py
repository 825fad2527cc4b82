"""The boot loader: which entry of the menu that the lab's update-grub writes is booted."""

from __future__ import annotations

import re

ENTRY = re.compile(
    r"^(?P<indent> *)(?:menuentry|submenu) '(?P<title>[^']*)'(?:[^\n]*'(?P<id>[^']*)')? \{$"
    r"(?:\n +linux (?P<image>\S+) (?P<arguments>[^\n]*?) *$)?",
    re.MULTILINE,
)
DEFAULT = re.compile(r'set default="([^"$]*|\$\{saved_entry\})"')


def disables_aer(command_line: str) -> bool:
    """Return whether these words keep the kernel from counting PCIe errors.

    `pci=` takes a list with commas. Without memory-mapped configuration space (nommconf), the
    kernel does not see the extended capabilities.

    >>> disables_aer("ro pci=nomsi,noaer"), disables_aer("ro pci=realloc noaer")
    (True, False)
    """
    words = command_line.split()
    options = [
        option
        for word in words
        if word.startswith("pci=")
        for option in word.removeprefix("pci=").split(",")
    ]
    return bool({"noaer", "nommconf"} & {*options}) or "pcie_ports=compat" in words


def forget_next_entry(environment: str) -> str:
    """Return the text of grubenv after a boot: `next_entry` counts for one boot.

    The file keeps its size, because the boot loader overwrites it in place.
    """
    kept = [line for line in environment.splitlines() if not line.startswith("next_entry=")]
    rows = "".join(f"{line}\n" for line in kept if not line.startswith("###"))
    return rows.ljust(len(environment), "#")


def command_line(menu: str, environment: str) -> str:
    """Return the command line of the kernel that boots. environment: the text of grubenv."""
    variables = dict(line.split("=", 1) for line in environment.splitlines() if "=" in line)
    entries = list(ENTRY.finditer(menu))
    match = DEFAULT.search(menu)
    default = variables.get("next_entry") or (match.group(1) if match else "0")
    if default == "${saved_entry}":
        default = variables.get("saved_entry", "0")
    chosen = _choose(entries, default) or next(entry for entry in entries if entry["image"])
    return f"BOOT_IMAGE={chosen['image']} {chosen['arguments']}"


def _choose(entries: list[re.Match[str]], default: str) -> re.Match[str] | None:
    """Return the entry that a default names; None: it names none."""
    first, _, rest = default.partition(">")
    top = [entry for entry in entries if not entry["indent"]]
    entry = _named(top, first)
    if entry is None or entry["image"]:
        return entry
    return _named([entry for entry in entries if entry["indent"]], rest or "0")


def _named(entries: list[re.Match[str]], name: str) -> re.Match[str] | None:
    if name.isdigit():
        return entries[int(name)] if int(name) < len(entries) else None
    return next((entry for entry in entries if name in (entry["id"], entry["title"])), None)

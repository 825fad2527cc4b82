"""The boot loader: which entry of the menu that the lab's update-grub writes is booted."""

from __future__ import annotations

import re

ENTRY = re.compile(
    r"^(?P<indent> *)(?:menuentry|submenu) '(?P<title>[^']*)'(?:[^\n]*'(?P<id>[^']*)')? \{$"
    r"(?:\n +linux (?P<image>\S+) (?P<arguments>[^\n]*?) *$)?",
    re.MULTILINE,
)
DEFAULT = re.compile(r'set default="([^"$]*|\$\{saved_entry\})"')


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

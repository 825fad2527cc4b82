"""Which kernel boots next, read from GRUB's own files in the way in which GRUB chooses.

GRUB runs grub.cfg. The default is the entry of `next_entry` (for one boot), else of `saved_entry`
where grub.cfg reads it, else a number, a title or an id; the parts of a path into submenus are
joined by `>`. What names no entry means the first one.
Source: grub-core/normal/menu.c, util/grub.d/00_header.in.
"""

from __future__ import annotations

import re
import shlex
from typing import Any, Iterable

from provision.remote.facts.driver import kernel_headers
from provision.remote.facts.tree import Tree

FOLDERS = ("/boot/grub", "/boot/grub2")
KERNEL = re.compile(r"(?:linux|linux16|linuxefi)\s+(\S+)\s*(.*)")
RELEASE = re.compile(r"(?:^|/)(?:vmlinuz|linux|kernel|bzImage)-(\S+)$")
DEFAULT = re.compile(r"""set\s+default=(?:"([^"]*)"|'([^']*)'|(\S+))""")
NUMBER = re.compile(r"(0x[0-9a-f]+|\d+)(?=>|$)", re.IGNORECASE)
MOST_ENTRIES = 200
MOST_SUBMENUS = 20


class MenuEntry:
    """An entry of the menu, or a submenu and its entries."""

    def __init__(self, title: str, identifier: str, above: MenuEntry | None) -> None:
        self.title = title
        self.identifier = identifier
        self.above = above
        self.entries: list[MenuEntry] = []
        self.kernel = ""  # the path of its image
        self.arguments = ""

    @property
    def path(self) -> str:
        """What names it as the default: ids, or titles where there are none."""
        name = (self.identifier or self.title).replace(">", ">>")
        return f"{self.above.path}>{name}" if self.above and self.above.above else name

    @property
    def is_recovery(self) -> bool:
        """Return whether it boots to a rescue shell."""
        return bool({"single", "recovery", "1"} & set(self.arguments.split()))

    def leaves(self) -> Iterable[MenuEntry]:
        """Yield the entries that boot, submenus opened."""
        for entry in self.entries:
            if entry.entries:
                yield from entry.leaves()
            else:
                yield entry


def boot(tree: Tree) -> dict[str, Any]:
    """Return the loader ("grub", or empty), what boots next, and the kernels with entries."""
    for folder in FOLDERS:
        text = tree.text(f"{folder}/grub.cfg")
        if "custom.cfg" in text:  # it is sourced at the end
            text = f"{text}\n{tree.text(f'{folder}/custom.cfg')}"
        menu = read_menu(text)
        leaves = [leaf for leaf in menu.leaves() if leaf.kernel]
        if leaves:
            environment = read_environment(tree.text(f"{folder}/grubenv"))
            chosen = choose(menu, default_of(text, environment))
            return {
                "loader": "grub",
                "next": _describe(tree, chosen) if chosen and chosen.kernel else None,
                "kernels": list(_kernels(tree, leaves)),
            }
    return {"loader": "", "next": None, "kernels": []}


def _kernels(tree: Tree, leaves: Iterable[MenuEntry]) -> Iterable[dict[str, Any]]:
    """Yield each kernel once, by its last entry: those of a submenu keep their names longer."""
    rows = {}
    for leaf in leaves:
        row = _describe(tree, leaf)
        if row["release"] and not leaf.is_recovery:
            rows[row["release"]] = row
    return list(rows.values())[:MOST_ENTRIES]


def _describe(tree: Tree, entry: MenuEntry) -> dict[str, Any]:
    release = release_of(tree, entry.kernel)
    return {
        "release": release,
        "entry": entry.path,
        "arguments": entry.arguments.split(),
        "headers": bool(release) and kernel_headers(tree, release),
    }


def release_of(tree: Tree, image: str) -> str:
    """Return the release of a kernel's image, links followed; empty where its name has none."""
    name = image.rsplit("/", 1)[-1]
    for _ in range(4):
        match = RELEASE.search(name)
        if match:
            return match.group(1)
        name = tree.link(f"/boot/{name}") or tree.link(f"/{name}")
    return ""


def read_menu(text: str) -> MenuEntry:
    """Return the menu of a grub.cfg."""
    root = MenuEntry("", "", None)
    open_blocks: list[MenuEntry] = [root]
    depth: list[int] = [0]
    level = 0
    for line in text.replace("\\\n", " ").splitlines():
        words = line.strip()
        if words.startswith("#"):
            continue
        if re.match(r"(menuentry|submenu)\s", words) and len(open_blocks) < MOST_SUBMENUS:
            entry = _entry(words, open_blocks[-1])
            open_blocks[-1].entries.append(entry)
            open_blocks.append(entry)
            depth.append(level)
        match = KERNEL.match(words)
        if match and len(open_blocks) > 1 and not open_blocks[-1].kernel:
            open_blocks[-1].kernel, open_blocks[-1].arguments = match.groups()
        level += len(re.findall(r"\{\s*$", words)) - (words == "}" or words.startswith("} "))
        while len(depth) > 1 and level <= depth[-1]:
            depth.pop()
            open_blocks.pop()
    return root


def _entry(line: str, above: MenuEntry) -> MenuEntry:
    try:
        words = shlex.split(line.rstrip("{ "))
    except ValueError:
        words = line.split()
    identifier = ""
    for option, value in zip(words, words[1:]):
        if option in ("$menuentry_id_option", "${menuentry_id_option}", "--id"):
            identifier = value
    for word in words:
        if word.startswith("--id="):
            identifier = word[len("--id=") :]
    return MenuEntry(words[1] if len(words) > 1 else "", identifier, above)


def read_environment(text: str) -> dict[str, str]:
    """Return the variables of a grubenv."""
    pairs = (line.partition("=") for line in text.splitlines() if not line.startswith("#"))
    return {name: value for name, equals, value in pairs if equals}


def default_of(text: str, environment: dict[str, str]) -> str:
    """Return the value that `default` has after grub.cfg ran, which sets it repeatedly."""
    if "load_env" not in text:
        environment = {}
    values = ["".join(match.groups("")) for match in DEFAULT.finditer(text)]
    if environment.get("next_entry") and any("next_entry" in value for value in values):
        return environment["next_entry"]
    lasting = [value for value in values if "next_entry" not in value]
    value = lasting[-1] if lasting else "0"
    return re.sub(r"\$\{?(\w+)\}?", lambda match: environment.get(match.group(1), ""), value)


def choose(menu: MenuEntry, default: str) -> MenuEntry | None:
    """Return the entry that GRUB boots by itself; None in an empty menu."""
    while menu.entries:
        entry, default = _find(menu, default)
        if not entry.entries:
            return entry
        menu = entry
    return None


def _find(menu: MenuEntry, default: str) -> tuple[MenuEntry, str]:
    """Return an entry of one menu, and what is left of the path for the submenu below it."""
    match = NUMBER.match(default)
    if match:
        number = int(match.group(1), 0 if match.group(1).lower().startswith("0x") else 10)
        rest = default[match.end() + 1 :]
        if number < len(menu.entries):
            return menu.entries[number], rest
        return menu.entries[0], ""
    first, rest = _split(default)
    for entry in menu.entries:
        if first and first in (entry.title, entry.identifier):
            return entry, rest
    return menu.entries[0], ""


def _split(path: str) -> tuple[str, str]:
    """Return the first part of a path, and the rest; `>>` is one `>` of a name."""
    match = re.match(r"((?:[^>]|>>)*)(?:>(.*))?$", path, re.DOTALL)
    return (match.group(1).replace(">>", ">"), match.group(2) or "") if match else (path, "")

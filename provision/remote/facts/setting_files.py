"""The files of a kind of settings that count, of all folders that have some.

Source: modprobe.d(5), modules-load.d(5).
"""

from __future__ import annotations

from provision.remote.facts.tree import Tree

#: A file replaces those of the same name in later folders.
FOLDERS = ("/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib")


def list_settings(tree: Tree, folder: str, ending: str) -> list[str]:
    """Return the files of a kind of settings that count, sorted by their names as kmod does."""
    by_name: dict[str, str] = {}
    for place in (f"{base}/{folder}" for base in FOLDERS):
        for name in tree.names(place):
            if name.endswith(ending):
                by_name.setdefault(name, f"{place}/{name}")
    return [by_name[name] for name in sorted(by_name)]

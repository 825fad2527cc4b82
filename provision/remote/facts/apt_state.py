"""The state of apt and dpkg: `ansible_local.deeprig.apt`."""

from __future__ import annotations

from typing import Any

from provision.remote import dpkg
from provision.remote.facts.package_lists import ListFiles, find_age, read_lists
from provision.remote.facts.package_sources import SourceEntry, read_sources
from provision.remote.facts.package_state import (
    find_holds,
    find_lock_holder,
    find_unfinished,
    is_interrupted,
    read_pins,
)
from provision.remote.facts.tree import Tree

ARCHITECTURE = "amd64"  # what a status file without dpkg's own row is of


def read_apt_state(
    tree: Tree, packages: dpkg.Database, sources: list[SourceEntry], lists: list[ListFiles]
) -> dict[str, Any]:
    """Return sources, lists, pins, holds, unfinished packages and locks."""
    age = find_age(tree, lists)
    return {
        "sources": [source._asdict() for source in sources],
        "lists_age_seconds": None if age is None else int(age),
        # The sources whose lists must be fetched before apt knows their packages.
        "lists_missing": [f"{suite.uri} {suite.suite}" for suite in lists if not suite.is_complete],
        "pins": read_pins(tree),
        "holds": find_holds(packages),
        "unfinished": find_unfinished(tree, packages),
        "interrupted": is_interrupted(tree),
        "lock": find_lock_holder(tree),
    }


def read_package_lists(
    tree: Tree, packages: dpkg.Database
) -> tuple[list[SourceEntry], list[ListFiles]]:
    """Return the sources, and the lists that they need."""
    sources = read_sources(tree)
    return sources, read_lists(tree, sources, find_architecture(packages))


def find_architecture(packages: dpkg.Database) -> str:
    """Return the architecture of the system's packages."""
    package = packages.find_installed("dpkg")
    return package.architecture if package and package.architecture else ARCHITECTURE

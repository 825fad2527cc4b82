"""Platforms that rent out this machine's GPUs, by the evidence for each."""

from __future__ import annotations

import os
import re
from typing import Iterator, TypedDict

from provision.remote.facts.start_places import UNIT_FOLDERS
from provision.remote.facts.tables import table
from provision.remote.facts.tree import Tree

CONTAINERS = "/var/lib/docker/containers/*/config.v2.json"
IMAGE = re.compile(r'"Image":\s*"([^"]+)"')


class Platform(TypedDict):
    """A row of rental.json. paths: any is enough; the others are regular expressions."""

    key: str
    name: str
    confidence: str
    paths: list[str]
    units: str
    processes: str
    users: str
    images: str


class RentalPlatform(TypedDict):
    """A platform that this machine is a host of, and the evidence in words."""

    key: str
    name: str
    evidence: list[str]


def rental(tree: Tree) -> list[RentalPlatform]:
    """Return the platforms of which there is evidence."""
    units = set(_units(tree))
    processes = set(_processes(tree))
    users = {line.split(":")[0] for line in tree.lines("/etc/passwd")}
    images = set(_images(tree))
    result: list[RentalPlatform] = []
    platforms: list[Platform] = table("rental.json")["platforms"]
    for platform in platforms:
        evidence = [
            *(path for pattern in platform["paths"] for path in tree.glob(pattern)),
            *_matching(platform["units"], units, "unit {}.service"),
            *_matching(platform["processes"], processes, "process {}"),
            *_matching(platform["users"], users, "user {}"),
            *_matching(platform["images"], images, "container of {}"),
        ]
        if evidence:
            result.append({"key": platform["key"], "name": platform["name"], "evidence": evidence})
    return result


def _matching(pattern: str, names: set[str], text: str) -> Iterator[str]:
    for name in sorted(names):
        if pattern and re.fullmatch(pattern, name, re.IGNORECASE):
            yield text.format(name)


def _units(tree: Tree) -> Iterator[str]:
    """Yield the names of services that are not masked."""
    for folder in UNIT_FOLDERS:
        for name in tree.names(folder):
            if name.endswith(".service") and tree.target(f"{folder}/{name}") != "/dev/null":
                yield name[: -len(".service")]


def _processes(tree: Tree) -> Iterator[str]:
    """Yield the names of programs that run: the kernel's name, and that of the executable."""
    for folder in tree.processes():
        yield tree.line(f"{folder}/comm")
        yield os.path.basename(tree.text(f"{folder}/cmdline").split("\0")[0])


def _images(tree: Tree) -> Iterator[str]:
    for path in tree.glob(CONTAINERS):
        for match in IMAGE.finditer(tree.text(path)):
            yield match.group(1)

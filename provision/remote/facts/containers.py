"""Containers of Docker and Podman that run, or start with the machine: what they run."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any, Iterator

from provision.remote.facts.mining_evidence import MinerFinding
from provision.remote.facts.mining_signs import Marks
from provision.remote.facts.running_miners import RunningPrograms
from provision.remote.facts.tables import table
from provision.remote.facts.tree import Tree

DOCKER = "/var/lib/docker/containers/*/config.v2.json"
PODMAN = (
    "/var/lib/containers/storage/overlay-containers/*/userdata/config.json",
    "/home/*/.local/share/containers/storage/overlay-containers/*/userdata/config.json",
)


@dataclass(frozen=True)
class Container:
    """One container. engine: docker or podman. command: with the variables that it is given."""

    engine: str
    identifier: str
    name: str
    image: str
    command: str
    is_active: bool


def find_containers(tree: Tree, marks: Marks, programs: RunningPrograms) -> Iterator[MinerFinding]:
    """Yield each container that may mine, by its image, its command, or a process in it."""
    images = table("miners.json")["images"]
    inside: dict[str, set[str]] = {}
    for pid, kinds in programs.signs.items():
        inside.setdefault(programs.processes[pid].container, set()).update(kinds)
    for container in read_containers(tree):
        if not container.is_active:
            continue
        image = container.image.lower()
        signs: set[str] = {"start", *marks.find_names(container.command).values()}
        if any(part in image for part in images):
            signs.add("name")
        signs.update(marks.find_signs(container.command))
        for identifier, others in inside.items():
            if identifier and container.identifier.startswith(identifier):
                signs.update(others)
        if signs != {"start"}:
            evidence = f"image {container.image}"
            yield MinerFinding(container.engine, container.name, evidence, frozenset(signs))


def read_containers(tree: Tree) -> Iterator[Container]:
    """Yield all containers that there are settings of."""
    for path in tree.glob(DOCKER):
        content = _document(tree, path)
        host = _document(tree, f"{os.path.dirname(path)}/hostconfig.json")
        restart = str(_value_at(host, "RestartPolicy", "Name")) or "no"
        words = [content.get("Path"), content.get("Args"), _value_at(content, "Config", "Env")]
        words += [_value_at(content, "Config", "Entrypoint"), _value_at(content, "Config", "Cmd")]
        yield Container(
            engine="docker",
            identifier=path.split("/")[-2],
            name=str(content.get("Name", "")).lstrip("/"),
            image=str(_value_at(content, "Config", "Image")),
            command=_join(words),
            is_active=_value_at(content, "State", "Running") is True or restart != "no",
        )
    for pattern in PODMAN:
        for path in tree.glob(pattern):
            content = _document(tree, path)
            notes = content.get("annotations")
            image = _value_at(content, "annotations", "io.container.image.name")
            name = _value_at(content, "annotations", "io.container.manager.name")
            yield Container(
                engine="podman",
                identifier=path.split("/")[-3],
                name=str(content.get("hostname", "")) or str(name),
                image=str(image if notes else ""),
                command=_join([_value_at(content, "process", "args")]),
                is_active=True,
            )


def _join(values: list[Any]) -> str:
    """Return words and lists of words as one command line, an option's value after a blank."""
    words: list[str] = []
    for value in values:
        if isinstance(value, str):
            words.append(value)
        elif isinstance(value, list):
            words += [str(word) for word in value]
    return " ".join(words)


def _document(tree: Tree, path: str) -> dict[str, Any]:
    try:
        content = json.loads(tree.text(path))
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _value_at(document: dict[str, Any], *keys: str) -> Any:
    value: Any = document
    for key in keys:
        value = value.get(key, "") if isinstance(value, dict) else ""
    return value

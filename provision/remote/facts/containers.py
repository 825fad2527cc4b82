"""Containers of Docker and Podman that run, or start with the machine: what they run.

Podman's may be described by a quadlet (podman-systemd.unit(5)): a file from which systemd's
generator makes a service of the same name.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any, Iterator

from provision.remote.facts.commands import unit_lines
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
#: Where quadlets are: of the machine, with folders in it, and of users.
QUADLET_FOLDERS = (
    "/etc/containers/systemd",
    "/run/containers/systemd",
    "/usr/local/share/containers/systemd",
    "/usr/share/containers/systemd",
    *("/home/*/.config/containers/systemd", "/root/.config/containers/systemd"),
)
QUADLETS = (".container", ".kube")
#: A service of this name here wins over the generated one.
MASKS = "/etc/systemd/system"
#: Keys of a quadlet for what is run, and with what; and keys that name files of the same.
QUADLET_VALUES = frozenset({"Image", "Exec", "Entrypoint", "Environment"})
QUADLET_FILES = frozenset({"EnvironmentFile", "Yaml"})


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
    inside: dict[str, set[str]] = {}
    for pid, kinds in programs.signs.items():
        inside.setdefault(programs.processes[pid].container, set()).update(kinds)
    for container in read_containers(tree):
        if not container.is_active:
            continue
        signs = _signs_of(marks, container.image, container.command)
        for identifier, others in inside.items():
            if identifier and container.identifier.startswith(identifier):
                signs.update(others)
        if signs != {"start"}:
            evidence = f"image {container.image}"
            yield MinerFinding(container.engine, container.name, evidence, frozenset(signs))


def find_quadlets(tree: Tree, marks: Marks) -> Iterator[MinerFinding]:
    """Yield the service of each quadlet whose container may mine."""
    for path in _quadlets(tree):
        service = f"{os.path.splitext(os.path.basename(path))[0]}.service"
        if tree.target(f"{MASKS}/{service}") == "/dev/null" and "/.config/" not in path:
            continue
        images, command = _read_quadlet(tree, path)
        signs = _signs_of(marks, images, command)
        if signs != {"start"}:
            yield MinerFinding("unit", service, path, frozenset(signs))


def _read_quadlet(tree: Tree, path: str) -> tuple[str, str]:
    """Return a quadlet's images, and its command with the settings that the container is given."""
    files = [path, *sorted(tree.glob(f"{path}.d/*.conf"))]
    pairs = [line.partition("=") for file in files for line in unit_lines(tree, file)]
    values = [(key.strip(), value.strip()) for key, _, value in pairs]
    words = [value for key, value in values if key in QUADLET_VALUES]
    for key, value in values:
        if key in QUADLET_FILES:  # beside the quadlet, or an absolute path
            file = os.path.join(os.path.dirname(path), value.lstrip("-"))
            words.append(tree.text(file) if tree.is_file(file) else "")
    images = (value for key, value in values if key == "Image")
    return " ".join(images), "\n".join(words)


def _signs_of(marks: Marks, image: str, command: str) -> set[str]:
    """Return the signs of a container, by its image and by its command with its variables."""
    parts = table("miners.json")["images"]
    signs = {"start", *marks.find_names(command).values(), *marks.find_signs(command)}
    return signs | ({"name"} if any(part in image.lower() for part in parts) else set())


def _quadlets(tree: Tree) -> Iterator[str]:
    for folder in QUADLET_FOLDERS:
        for below in ("", "/*", "/*/*"):
            for suffix in QUADLETS:
                yield from tree.glob(f"{folder}{below}/*{suffix}")


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

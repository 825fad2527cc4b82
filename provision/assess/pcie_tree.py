"""The GPUs and every link above them as a tree, drawn with lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from provision.boundary.facts import Gpu, Port


@dataclass
class Node:
    """A device of a path, and what hangs on it."""

    text: str
    children: dict[str, Node] = field(default_factory=dict)


def draw(gpus: Sequence[Gpu], names: Mapping[str, str]) -> list[str]:
    """Return a line for each device. gpus: facts; names: of the cards, by device id.

    A link is shown with its current lanes and the device's maximum: speeds drop when idle.
    """
    root = Node("processor")
    for gpu in gpus:
        node = root
        narrowest = gpu["path_width"]
        for at, port in enumerate(gpu["path"]):
            last = at == len(gpu["path"]) - 1
            what = (
                names.get(gpu["device_id"], f"NVIDIA {gpu['device_id']}") if last else port["kind"]
            )
            # The first place where it gets narrow is the one to look at.
            above = [earlier["current_width"] for earlier in gpu["path"][:at]]
            marked = port["current_width"] == narrowest and narrowest not in above
            text = f"{port['address']} {what}  {_link(port)}{'  <- narrowest' if marked else ''}"
            node = node.children.setdefault(port["address"], Node(text))
    return [root.text, *_lines(root, "")]


def _lines(node: Node, indent: str) -> list[str]:
    lines = []
    children = list(node.children.values())
    for at, child in enumerate(children):
        last = at == len(children) - 1
        lines.append(f"{indent}{'└─ ' if last else '├─ '}{child.text}")
        lines += _lines(child, f"{indent}{'   ' if last else '│  '}")
    return lines


def _link(port: Port) -> str:
    now, most, speed = port["current_width"], port["max_width"], port["max_speed_gts"]
    if now is None:
        return ""
    can = f" of x{most}" if most and most != now else ""
    return f"x{now}{can}, up to {speed:g} GT/s" if speed else f"x{now}{can}"

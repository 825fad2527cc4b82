"""The flags that the commands over a fleet share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


def _flag(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class Flags:
    """The flags that the commands share; a one-letter name is a short flag."""

    # Fabric has these two itself, but takes them for a positional argument that is still missing
    # (`fab play -H rig FILE.yml`) unless they are the task's own, too.
    H: str = _flag("", "the hosts: names, groups, wildcards or addresses, comma-separated")
    i: tuple[str, ...] = _flag((), "a private key file (repeatable)")
    check: bool = _flag(False, "report what would change, and change nothing")
    diff: bool = _flag(False, "show what changes in files")
    tags: str = _flag("", "only tasks with one of these tags: a,b")
    skip_tags: str = _flag("", "leave out tasks with one of these tags: a,b")
    e: tuple[str, ...] = _flag((), "a variable: name=value, {yaml} or @file.yml (repeatable)")
    json: bool = _flag(False, "print one JSON document instead of lines")
    verbose: bool = _flag(False, "print a line for every task")
    accept_new: bool = _flag(False, "remember host keys that are not known yet, without asking")
    inventory: str = _flag("", "another inventory: a file or a folder")


OF_PLAYS = ("check", "diff", "tags", "skip_tags")  # what only a playbook's run can mean

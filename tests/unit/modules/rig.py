"""A rig in a folder, for the cases: files, dpkg's database, and commands that answer by script."""

from __future__ import annotations

import fnmatch
import json
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from provision.remote.host import CommandResult, ModuleFailure, ModuleHost


class Script:
    """Commands and their answers.

    Each entry: `run` (a shell pattern for the whole line), rc, stdout, stderr; `until` and `after`
    (patterns): the answer holds until, or only after, such a command was run; `makes`: the files
    that it writes (null removes one); `packages`: what dpkg's database then has.
    """

    def __init__(self, entries: Sequence[Mapping[str, Any]], root: Path) -> None:
        self.entries = entries
        self.root = root
        self.ran: list[str] = []

    def answer(self, line: str) -> CommandResult:
        for entry in self.entries:
            if fnmatch.fnmatchcase(line, self.place(entry["run"])) and self._valid(entry):
                self.ran.append(line)
                create_files(self.root, entry.get("makes") or {})
                if "packages" in entry:
                    write_packages(self.root, entry["packages"])
                texts = [self.place(entry.get(name, "")) for name in ("stdout", "stderr")]
                return CommandResult(entry.get("rc", 0), *texts)
        raise AssertionError(f"the case has no answer for: {line}")

    def _valid(self, entry: Mapping[str, Any]) -> bool:
        if "until" in entry and fnmatch.filter(self.ran, self.place(entry["until"])):
            return False
        return "after" not in entry or bool(fnmatch.filter(self.ran, self.place(entry["after"])))

    def place(self, text: str) -> str:
        return text.replace("{tmp}", str(self.root))


class ScriptedHost(ModuleHost):
    """A host whose commands are not run but looked up."""

    script: Script | None = None

    def run(self, command: str | Sequence[str], **options: Any) -> CommandResult:
        if self.script is None:
            return super().run(command, **options)
        line = command if isinstance(command, str) else shlex.join(command)
        return self.script.answer(line)


def create_files(root: Path, files: Mapping[str, Any]) -> None:
    """Write files: text, {link: target}, {content, mode}, null (remove), or a folder ("name/")."""
    for name, value in files.items():
        path = root / name
        if value is None and not name.endswith("/"):
            path.unlink()
            continue
        if name.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
            if value:
                path.chmod(int(value["mode"], 8))
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        value = value if isinstance(value, dict) else {"content": value}
        if "link" in value:
            path.symlink_to(value["link"].replace("{tmp}", str(root)))
            continue
        path.write_text(value["content"].replace("{tmp}", str(root)))
        path.chmod(int(value.get("mode", "0644"), 8))
        if "mtime" in value:
            os.utime(path, (value["mtime"], value["mtime"]))


def write_packages(root: Path, packages: Mapping[str, Any]) -> None:
    """dpkg's status file: name -> version, or {version, status, provides, architecture}."""
    stanzas = []
    for name, value in packages.items():
        fields = value if isinstance(value, dict) else {"version": value}
        stanza = {
            "Package": name,
            "Status": fields.get("status", "install ok installed"),
            "Architecture": fields.get("architecture", "amd64"),
            "Version": fields["version"],
            "Provides": fields.get("provides", ""),
            "Description": f"{name}\n more of it: text",
        }
        stanzas.append("".join(f"{key}: {text}\n" for key, text in stanza.items() if text))
    folder = root / "var/lib/dpkg"
    (folder / "updates").mkdir(parents=True, exist_ok=True)
    (folder / "status").write_text("\n".join(stanzas))


def snapshot(root: Path) -> dict[str, Any]:
    """Return every path below a folder with what a task could change of it."""
    entries = {}
    for path in sorted(root.rglob("*")):
        info = path.lstat()
        content = str(path.readlink()) if path.is_symlink() else None
        if content is None and path.is_file():
            content = path.read_text(errors="replace")
        changed = 0 if path.is_dir() else info.st_mtime_ns
        entries[str(path.relative_to(root))] = (content, oct(info.st_mode), changed)
    return entries


def contains(actual: Any, wanted: Any) -> bool:
    """Return whether `actual` has all that `wanted` names; text that starts with ~ is a part."""
    if isinstance(wanted, dict):
        return isinstance(actual, dict) and all(
            key in actual and contains(actual[key], value) for key, value in wanted.items()
        )
    if isinstance(wanted, list):
        same_length = isinstance(actual, list) and len(actual) == len(wanted)
        return same_length and all(contains(f, w) for f, w in zip(actual, wanted, strict=True))
    if isinstance(wanted, str) and wanted.startswith("~"):
        return wanted[1:].strip() in (actual if isinstance(actual, str) else json.dumps(actual))
    return bool(actual == wanted)


def attempt(run: Any, args: dict[str, Any], host: ModuleHost) -> tuple[dict[str, Any], str | None]:
    """Return a module's result, or the details of a failure and its message."""
    try:
        return run(args, host), None
    except ModuleFailure as failure:
        return failure.result, failure.msg

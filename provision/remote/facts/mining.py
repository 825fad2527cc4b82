"""What this rig mined with: the mining operating system, or the miners on a plain one.

Settings of miners hold wallets and passwords: what is told here is names and paths only.
"""

from __future__ import annotations

import json
import os
import pkgutil
import re
from typing import Any, Iterator

from provision.remote.dpkg import Database
from provision.remote.facts.tree import Tree

UNIT_FOLDERS = ("/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")
CRON_FILES = ("/etc/crontab", "/etc/cron.d/*", "/var/spool/cron/crontabs/*", "/var/spool/cron/*")
LOGIN_FILES = (".bash_profile", ".profile", ".bashrc", ".xprofile", ".xinitrc")
LOGIN_FOLDERS = ("/root", "/home/*")
AUTOSTART = (".config/autostart/*.desktop", ".config/lxsession/*/autostart")


def table(name: str) -> Any:
    """A table of data that lies beside this file."""
    data = pkgutil.get_data(__package__, name)
    assert data is not None
    return json.loads(data.decode())


def mining_os(tree: Tree, packages: Database) -> dict[str, Any] | None:
    """The mining operating system by the evidence for it; None where there is none.

    What a conversion leaves (a `trace`: a label, a kernel's name) is evidence only beside another.
    """
    best: dict[str, Any] | None = None
    for system in table("mining_os.json")["systems"]:
        rules = [(rule, _evidence(tree, packages, rule)) for rule in system["rules"]]
        evidence = [text for _, texts in rules for text in texts]
        strong = any(texts and not rule.get("trace") for rule, texts in rules)
        if strong and (best is None or len(evidence) > len(best["evidence"])):
            best = {name: system[name] for name in ("key", "name", "confidence")}
            best["evidence"] = evidence
    return best


def _evidence(tree: Tree, packages: Database, rule: dict[str, Any]) -> list[str]:
    """What was found of one rule, in words; nothing where it does not hold."""
    if "paths" in rule:
        return rule["paths"] if all(tree.glob(path) for path in rule["paths"]) else []
    if "package" in rule:
        package = packages.find(rule["package"])
        return [f"package {package.name}"] if package and package.present else []
    if "kernel" in rule:
        release = tree.line("/proc/sys/kernel/osrelease")
        return [f"kernel {release}"] if rule["kernel"] in release else []
    if "label" in rule:
        there = tree.exists(f"/dev/disk/by-label/{rule['label']}")
        return [f"file system label {rule['label']}"] if there else []
    if "grub_distributor" in rule:
        found = tree.settings("/etc/default/grub").get("GRUB_DISTRIBUTOR", "")
        same = found == rule["grub_distributor"]
        return [f'GRUB_DISTRIBUTOR="{found}" in /etc/default/grub'] if same else []
    raise AssertionError(f"unknown rule of evidence: {rule}")


def miners(tree: Tree) -> list[dict[str, str]]:
    """What starts, or is, a miner: {kind, name, evidence}, each once."""
    known = table("miners.json")
    programs = frozenset(known["programs"])
    found = [
        *_units(tree, programs),
        *_cron(tree, programs),
        *_at_boot(tree, programs),
        *_at_login(tree, programs),
        *_processes(tree, programs),
        *_containers(tree, known["images"]),
    ]
    unique = {(entry["kind"], entry["name"], entry["evidence"]): entry for entry in found}
    return list(unique.values())


def named(text: str, programs: frozenset[str]) -> list[str]:
    """The miners that a command line or script runs, as it writes their names."""
    words = set(re.findall(r"[A-Za-z0-9][\w.+-]*", text))
    return sorted(word for word in words if is_miner(word, programs))


def is_miner(program: str, programs: frozenset[str]) -> bool:
    """Whether a program's name is a miner's."""
    name = program.lower()
    return (name[: -len(".exe")] if name.endswith(".exe") else name) in programs


def _entry(kind: str, name: str, evidence: str) -> dict[str, str]:
    return {"kind": kind, "name": name, "evidence": evidence}


def _units(tree: Tree, programs: frozenset[str]) -> Iterator[dict[str, str]]:
    seen = set()
    for folder in UNIT_FOLDERS:
        for name in tree.names(folder):
            path = f"{folder}/{name}"
            if not name.endswith(".service") or name in seen:
                continue
            seen.add(name)
            lines = [line for line in tree.lines(path) if line.startswith("ExecStart")]
            started = [_program(line.partition("=")[2]) for line in lines]
            stem = name[: -len(".service")].lower()
            if stem in programs or any(named(text, programs) for text in started):
                yield _entry("unit", name, path)


def _program(command: str) -> str:
    """The program and script that a unit starts, without its arguments: they hold secrets."""
    words = [word.lstrip("@-:+!") for word in command.split()]
    return " ".join(os.path.basename(w) for w in words if w.startswith("/") or w == words[0])


def _cron(tree: Tree, programs: frozenset[str]) -> Iterator[dict[str, str]]:
    for pattern in CRON_FILES:
        for path in tree.glob(pattern):
            for name in named("\n".join(tree.lines(path)), programs):
                yield _entry("cron", name, path)


def _at_boot(tree: Tree, programs: frozenset[str]) -> Iterator[dict[str, str]]:
    for path in ("/etc/rc.local", "/etc/rc.d/rc.local"):
        for name in named("\n".join(tree.lines(path)), programs):
            yield _entry("rc.local", name, path)


def _at_login(tree: Tree, programs: frozenset[str]) -> Iterator[dict[str, str]]:
    for path in tree.glob("/etc/systemd/system/getty@*.service.d/*.conf"):
        match = re.search(r"--autologin[ =](\S+)", tree.text(path))
        if match:
            yield _entry("autologin", match.group(1), path)
    for folder in LOGIN_FOLDERS:
        for pattern in (*LOGIN_FILES, *AUTOSTART):
            for path in tree.glob(f"{folder}/{pattern}"):
                for name in named("\n".join(tree.lines(path)), programs):
                    yield _entry("autologin", name, path)


def _processes(tree: Tree, programs: frozenset[str]) -> Iterator[dict[str, str]]:
    for folder in tree.processes():
        comm = tree.line(f"{folder}/comm")
        program = tree.link(f"{folder}/exe") or comm
        name = next((n for n in (program, comm) if is_miner(n, programs)), None)
        if name:
            yield _entry("process", name, f"pid {os.path.basename(folder)}")
    for path in tree.glob("/run/screen/S-*/*"):
        session = os.path.basename(path).partition(".")[2]
        if session.lower() in (*programs, "agent", "minew", "listener"):
            yield _entry("screen", session, path)


def _containers(tree: Tree, images: list[str]) -> Iterator[dict[str, str]]:
    for path in tree.glob("/var/lib/docker/containers/*/config.v2.json"):
        try:
            container = json.loads(tree.text(path))
            image = str(container.get("Config", {}).get("Image", ""))
            name = str(container.get("Name", "")).lstrip("/")
        except (ValueError, AttributeError):
            continue
        if any(part in image.lower() for part in images):
            yield _entry("docker", name, f"image {image}")

"""Gather facts, under the names of Ansible's setup, and deeprig's under ansible_local.deeprig.

`gather_timeout` is accepted: nothing here waits. Differs: the full name comes from /etc/hosts and
not from the DNS; remote file systems are listed without their sizes. Not here: hardware of other
systems, LVM, facter, ohai, SSH host keys.
"""

from __future__ import annotations

import configparser
import fnmatch
import json
import os
from typing import Any, Callable

from provision.remote import dpkg
from provision.remote.facts import hardware, network, system
from provision.remote.facts.rig import rig
from provision.remote.facts.tree import Tree
from provision.remote.files import read_bytes
from provision.remote.host import ModuleFailure, ModuleHost, Result
from provision.remote.options import Option
from provision.remote.paths import reach
from provision.remote.trust import is_private

OPTIONS = {
    "gather_subset": Option("list", default=["all"]),
    "gather_timeout": Option("int", default=10),
    "filter": Option("list", default=[]),
    "fact_path": Option("path", default="/etc/ansible/facts.d"),
}

ROOT = "/"
RIG_FACTS = "deeprig"


def run(args: dict[str, Any], host: ModuleHost) -> Result:
    """Return value: ansible_facts, each name with `ansible_` before it."""
    tree = Tree(ROOT)
    addresses: list[network.Address] = []
    chosen = subsets(args["gather_subset"])
    if chosen & {"network", "local"}:
        addresses = network.addresses()
    facts: dict[str, Any] = {}
    for subset, gather in GATHERERS:
        if subset in chosen:
            facts.update(gather(tree, addresses))
    if "local" in chosen:
        rig_facts = {RIG_FACTS: rig(tree, dpkg.database(host), addresses)}
        facts["local"] = {**local_facts(host, args["fact_path"]), **rig_facts}
    patterns = args["filter"]
    named = {f"ansible_{name}": value for name, value in facts.items()}
    if patterns and patterns != ["*"]:
        named = {
            name: value
            for name, value in named.items()
            if any(matches(name, pattern) for pattern in patterns)
        }
    named.update(gather_subset=args["gather_subset"], module_setup=True)
    return {"changed": False, "ansible_facts": named}


def matches(name: str, pattern: str) -> bool:
    """Return a fact's name against a pattern, which may leave out `ansible_`."""
    return fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(name, f"ansible_{pattern}")


def subsets(words: list[str]) -> set[str]:
    """Return the groups of facts that `gather_subset` asks for; raises ModuleFailure."""
    every = {subset for subset, _ in GATHERERS} | {"local"}
    minimum = {"min", "local"}
    asked: set[str] = set()
    without: set[str] = set()
    for word in words:
        target = without if word.startswith("!") else asked
        name = ALIASES.get(word.lstrip("!"), word.lstrip("!"))
        if name not in {*every, "all"}:
            names = ", ".join(sorted({*every, *ALIASES, "all"}))
            raise ModuleFailure(f"gather_subset has no '{name}'; it has: {names}")
        target.add(name)
    chosen = set(every) if "all" in asked or not asked else asked
    if "all" in without:  # everything but the minimum, unless named as well
        chosen = asked - {"all"}
    chosen |= set() if "min" in without else minimum
    return chosen - (without - {"min"})


def local_facts(host: ModuleHost, folder: str) -> dict[str, Any]:
    """Return the *.fact files of facts.d: JSON or INI, or a program that prints either."""
    facts: dict[str, Any] = {}
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return facts
    for name in names:
        stem, dot, ending = name.rpartition(".")
        if not dot or ending != "fact" or stem == RIG_FACTS:
            continue
        path = os.path.join(folder, name)
        if os.access(path, os.X_OK):
            if not _is_private(path):
                facts[stem] = f"error: {path} is not run: other users can replace or change it"
                continue
            done = host.run([path], timeout=30)
            if done.rc != 0:
                facts[stem] = f"error: {path} ended with exit status {done.rc}: {done.stderr}"
                continue
            text = done.stdout
        else:
            try:
                text = (read_bytes(path, reading=True) or b"").decode("utf-8", "replace")
            except ModuleFailure as failure:
                facts[stem] = f"error: {failure.msg}"
                continue
        facts[stem] = parse(text, path)
    return facts


def _is_private(path: str) -> bool:
    """Return whether only root, or the user of this process, can change a program."""
    with reach(path) as place:
        return is_private(place.folder.info) and place.info is not None and is_private(place.info)


def parse(text: str, path: str) -> Any:
    """JSON, else INI; a message where it is neither."""
    try:
        return json.loads(text)
    except ValueError:
        parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(text)
    except configparser.Error as error:
        return f"error loading facts as JSON or ini - please check content: {path}: {error}"
    return {section: dict(parser.items(section)) for section in parser.sections()}


def _minimum(tree: Tree, addresses: list[network.Address]) -> dict[str, Any]:
    return {
        **system.distribution(tree),
        **system.kernel(tree),
        **system.managers(tree),
        **system.user(),
        **system.python(),
        **system.clock(tree),
        "selinux": {"status": "disabled"},
        "apparmor": {
            "status": "enabled" if tree.exists("/sys/kernel/security/apparmor") else "disabled"
        },
        "fips": False,
        "is_chroot": False,
    }


def _hardware(tree: Tree, addresses: list[network.Address]) -> dict[str, Any]:
    loads = tree.line("/proc/loadavg").split()
    return {
        **hardware.processors(tree),
        **hardware.memory(tree),
        **system.board(tree),
        "mounts": hardware.mounts(tree),
        "devices": hardware.devices(tree),
        "loadavg": {f"{minutes}m": float(load) for minutes, load in zip((1, 5, 15), loads)},
    }


Gather = Callable[[Tree, "list[network.Address]"], "dict[str, Any]"]
GATHERERS: tuple[tuple[str, Gather], ...] = (
    ("min", _minimum),
    ("hardware", _hardware),
    ("network", network.network),
)
# Ansible's finer groups, and the one here that has their facts.
ALIASES = {
    "virtual": "min",
    "distribution": "min",
    "platform": "min",
    "python": "min",
    "user": "min",
    "env": "min",
    "date_time": "min",
    "cmdline": "min",
    "lsb": "min",
    "pkg_mgr": "min",
    "service_mgr": "min",
    "dns": "network",
    "interfaces": "network",
    "default_ipv4": "network",
    "default_ipv6": "network",
    "all_ipv4_addresses": "network",
    "devices": "hardware",
    "mounts": "hardware",
    "memory": "hardware",
    "processor": "hardware",
    "processor_count": "hardware",
    "dmi": "hardware",
}

"""The installed packages, as Ansible's package_facts lists them; dpkg's only, without a process."""

from __future__ import annotations

from typing import Any

from provision.remote import dpkg
from provision.remote.host import ModuleHost, Result
from provision.remote.options import Option

OPTIONS = {
    "manager": Option("list", default=["auto"], choices=("auto", "apt")),
    "strategy": Option(default="first", choices=("first", "all")),
}


def run(args: dict[str, Any], host: ModuleHost) -> Result:
    """Return value: ansible_facts.packages, name -> list of {name, version, arch, category}."""
    packages = dpkg.database(host)
    facts: dict[str, list[dict[str, str]]] = {}
    for name in packages.names():
        for package in packages.find_all(name):
            if package.installed:
                entry = {
                    "name": name,
                    "version": package.version,
                    "arch": package.architecture,
                    "category": package.fields.get("Section", ""),
                    "source": "apt",
                }
                facts.setdefault(name, []).append(entry)
    return {"changed": False, "ansible_facts": {"packages": facts}}

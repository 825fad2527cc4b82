"""What dpkg is to do with a package, as Ansible's dpkg_selections sets it."""

from __future__ import annotations

from typing import Any

from provision.remote import apt_get, dpkg
from provision.remote.host import ModuleFailure, ModuleHost, Result
from provision.remote.options import Option

OPTIONS = {
    "name": Option(required=True),
    "selection": Option(required=True, choices=("deinstall", "hold", "install", "purge")),
}


def run(args: dict[str, Any], host: ModuleHost) -> Result:
    """Return values: before, after."""
    name, wanted = args["name"], args["selection"]
    package = dpkg.database(host).find(name)
    if package is None or package.want == "unknown":
        if host.check:
            return {"changed": True, "unknown": f"{name} is not installed yet"}
        raise ModuleFailure(
            f"Failed to find package '{name}' to perform selection '{wanted}'; install it first"
        )
    result: Result = {"changed": package.want != wanted, "before": package.want, "after": wanted}
    if result["changed"] and not host.check:
        command = ["dpkg", "--set-selections"]
        apt_get.run_dpkg(host, command, f"selecting {name}", stdin=f"{name} {wanted}\n")
    return result

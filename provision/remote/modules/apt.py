"""Debian packages, as Ansible's apt manages them.

What is installed is read from dpkg's status file, so a task that has nothing to do starts no
process (`latest`, `upgrade`, `autoremove` and a virtual package do need apt). Differs: lists that
are missing, cut off, or older than a changed source are stale whatever `cache_valid_time`; while
it waits for a lock, it shows which process has it; an update is `changed` only when a list
differs; a repository that can't be fetched is a failure; an interrupted dpkg is finished first;
patterns (`nvidia-*`) work only with `state: absent`. Not here: `build-dep`, `policy_rc_d`,
`allow_unauthenticated`, `force`.
"""

from __future__ import annotations

import fnmatch
import os
import re
from typing import Any, NamedTuple

from provision.remote import apt_get, dpkg, systemd
from provision.remote.host import ModuleFailure, ModuleHost, Result
from provision.remote.options import Option

OPTIONS = {
    "package": Option("list", aliases=("name", "pkg")),
    "state": Option(default="present", choices=("absent", "fixed", "latest", "present")),
    "update_cache": Option("bool", default=False, aliases=("update-cache",)),
    "cache_valid_time": Option("int", default=0),
    "update_cache_retries": Option("int", default=5),
    "update_cache_retry_max_delay": Option("int", default=12),
    "purge": Option("bool", default=False),
    "autoremove": Option("bool", default=False),
    "autoclean": Option("bool", default=False),
    "clean": Option("bool", default=False),
    "deb": Option("path"),
    "upgrade": Option(default="no", choices=("dist", "full", "no", "safe", "yes")),
    "default_release": Option(aliases=("default-release",)),
    "install_recommends": Option("bool", aliases=("install-recommends",)),
    "only_upgrade": Option("bool", default=False),
    "allow_downgrade": Option(
        "bool",
        default=False,
        aliases=("allow-downgrade", "allow_downgrades", "allow-downgrades"),
    ),
    "allow_change_held_packages": Option("bool", default=False),
    "fail_on_autoremove": Option("bool", default=False),
    "dpkg_options": Option(default="force-confdef,force-confold"),
    "lock_timeout": Option("int", default=60),
    "force_apt_get": Option("bool", default=False),
}

SPEC = re.compile(r"([^=<>\s]+?)\s*(?:(>=|=)\s*(\S+))?")
CACHED_ARCHIVES = "var/cache/apt/archives"


class Spec(NamedTuple):
    """A package as a task names it: `name`, `name=1.2*` or `name>=1.2`."""

    name: str
    operator: str
    version: str

    def satisfied_by(self, installed: str) -> bool:
        """Return whether an installed version is what the task asks for."""
        if self.operator == ">=":
            return dpkg.compare(installed, self.version) >= 0
        return not self.operator or fnmatch.fnmatchcase(installed, self.version)

    @property
    def word(self) -> str:
        """What apt-get takes; it knows no `>=`, and gets the newest."""
        return f"{self.name}={self.version}" if self.operator == "=" else self.name


def run(args: dict[str, Any], host: ModuleHost) -> Result:
    """Return values: cache_updated, cache_update_time, stdout, stderr, packages (by action)."""
    result: Result = {"changed": False, "cache_updated": False}
    wanted = [text.strip() for text in args["package"] or () if text.strip()]
    upgrade = args["upgrade"]
    more = wanted or args["deb"] or upgrade != "no" or args["state"] == "fixed"
    if args["update_cache"] or args["cache_valid_time"]:
        _refresh(args, host, result, alone=not more)
    if args["clean"]:
        _clean(args, host, result)
    if upgrade != "no":
        mode = "dist-upgrade" if upgrade in ("dist", "full") else "upgrade"
        words = [mode, "--with-new-pkgs"] if mode == "upgrade" else [mode]
        _apply(host, args, [*words, *_install_options(args)], result)
    if args["deb"]:
        _install_archive(args, host, result)
    if args["state"] == "absent":
        _remove(wanted, args, host, result)
    elif args["state"] == "fixed":
        _apply(host, args, ["--fix-broken", "install", *_install_options(args)], result)
    elif wanted == ["*"] and args["state"] == "latest":
        _apply(host, args, ["upgrade", "--with-new-pkgs", *_install_options(args)], result)
    elif wanted:
        _install([parse(text) for text in wanted], args, host, result)
    if not wanted:
        for operation in ("autoclean", "autoremove"):
            if args[operation]:
                purge = ["--purge"] if args["purge"] else []
                _apply(host, args, [operation, *purge], result)
    result["cache_update_time"] = int(apt_get.lists_time(host))
    return result


def parse(text: str) -> Spec:
    """Return a package as a task names it; raises ModuleFailure for what apt could not mean."""
    match = SPEC.fullmatch(text)
    if not match or any(letter in match.group(1) for letter in "*?["):
        raise ModuleFailure(
            f"'{text}' names no package: write name, name=1.2, name=1.2* or name>=1.2 "
            "(patterns work with state: absent only)"
        )
    return Spec(match.group(1), match.group(2) or "", match.group(3) or "")


def _install(specs: list[Spec], args: dict[str, Any], host: ModuleHost, result: Result) -> None:
    packages = dpkg.database(host)
    needed = []
    for spec in specs:
        present = packages.find_installed(spec.name)
        if not present:
            needed += [] if args["only_upgrade"] else [spec]
        elif args["state"] == "latest" or not spec.satisfied_by(present.version):
            needed.append(spec)
    if needed:
        words = ["install", *_install_options(args), *(spec.word for spec in needed)]
        _apply(host, args, words, result)
        if not host.check:
            _confirm(needed, host)


def _confirm(specs: list[Spec], host: ModuleHost) -> None:
    """apt-get takes the newest for `>=`, which may still be too old."""
    for spec in specs:
        present = dpkg.database(host).find_installed(spec.name)
        if present and not spec.satisfied_by(present.version):
            raise ModuleFailure(
                f"{spec.name} {spec.operator} {spec.version} is wanted, and the repositories have "
                f"{present.version} at best"
            )


def _remove(wanted: list[str], args: dict[str, Any], host: ModuleHost, result: Result) -> None:
    packages = dpkg.database(host)
    names = []
    for text in wanted:
        name = text.partition("=")[0].partition(">")[0]
        candidates = (
            packages.matching(name) if re.search(r"[*?\[]", name) else packages.find_all(name)
        )
        for package in candidates:
            left = args["purge"] and package.state == "config-files"
            if package.present or left:
                foreign = ":" in name
                names.append(f"{package.name}:{package.architecture}" if foreign else package.name)
    if names:
        words = ["remove", *(["--purge"] if args["purge"] else [])]
        words += ["--auto-remove"] if args["autoremove"] else []
        words += ["--allow-change-held-packages"] if args["allow_change_held_packages"] else []
        _apply(host, args, [*words, *dict.fromkeys(names)], result)


def _install_archive(args: dict[str, Any], host: ModuleHost, result: Result) -> None:
    path = args["deb"]
    scratch = None
    if "://" in path:
        from provision.remote.modules.get_url import download

        path = scratch = download(path, suffix=".deb")
    try:
        if host.check and not os.path.exists(path):
            result.update(changed=True, unknown=f"{path} is created by an earlier task")
            return
        fields = host.require(
            ["dpkg-deb", "-f", path, "Package", "Version"], f"reading the package {path}"
        ).stdout
        control = dict(re.findall(r"^(\w+): (.*)$", fields, re.MULTILINE))
        present = dpkg.database(host).find_installed(control["Package"])
        order = dpkg.compare(present.version, control["Version"]) if present else -1
        if order < 0 or (order > 0 and args["allow_downgrade"]):
            archive = os.path.abspath(path)
            _apply(host, args, ["install", *_install_options(args), archive], result)
    finally:
        if scratch:
            os.unlink(scratch)


def _install_options(args: dict[str, Any]) -> list[str]:
    words = []
    for option in args["dpkg_options"].split(","):
        words += ["-o", f"Dpkg::Options::=--{option.strip()}"] if option.strip() else []
    if args["install_recommends"] is not None:
        words += ["-o", f"APT::Install-Recommends={'yes' if args['install_recommends'] else 'no'}"]
    if args["default_release"]:
        words += ["-t", args["default_release"]]
    flags = {
        "autoremove": "--auto-remove",
        "only_upgrade": "--only-upgrade",
        "allow_downgrade": "--allow-downgrades",
        "allow_change_held_packages": "--allow-change-held-packages",
        "fail_on_autoremove": "--no-remove",
    }
    return words + [flag for name, flag in flags.items() if args[name]]


def _apply(host: ModuleHost, args: dict[str, Any], words: list[str], result: Result) -> None:
    """Run apt-get, or in check mode its simulation, and add to the result what it did."""
    if host.check:
        _predict(host, words, result)
        return
    apt_get.finish_interrupted(host)
    before = _versions(host)
    done = apt_get.apt_get(host, words, args["lock_timeout"])
    after = _versions(host)
    systemd.forget_units(host)
    names = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
    changes = [
        apt_get.PackageChange(
            "install" if name in after else "remove",
            name,
            before.get(name, ""),
            after.get(name, ""),
        )
        for name in names
    ]
    if changes or not apt_get.NOTHING_DONE.search(done.stdout):
        result["changed"] = result["changed"] or words[0] != "autoclean" or "Del " in done.stdout
    result.update(stdout=done.stdout, stderr=done.stderr)
    _list_changes(host, changes, result)


def _predict(host: ModuleHost, words: list[str], result: Result) -> None:
    if dpkg.is_interrupted():
        result.update(changed=True, unknown="dpkg was interrupted, and is to be finished first")
        return
    if words[0] == "autoclean":
        result["unknown"] = "what autoclean would delete is known only by running it"
        return
    try:
        done, changes = apt_get.simulate(host, words)
    except ModuleFailure as failure:
        if not apt_get.missing_package(failure):
            raise
        first = failure.msg.splitlines()[0]
        result.update(
            changed=True,
            unknown=f"it may come with a repository that an earlier task adds: {first}",
        )
        return
    result["changed"] = (
        result["changed"] or bool(changes) or not apt_get.NOTHING_DONE.search(done.stdout)
    )
    result.update(stdout=done.stdout, stderr=done.stderr)
    _list_changes(host, changes, result)


def _list_changes(host: ModuleHost, changes: list[apt_get.PackageChange], result: Result) -> None:
    lists = result.setdefault("packages", {"install": [], "remove": []})
    for change in changes:
        lists[change.action].append(change.name)
    if host.diff and changes:
        result["diff"] = {
            "before": "".join(
                f"{change.name} {change.before}\n" for change in changes if change.before
            ),
            "after": "".join(
                f"{change.name} {change.after}\n" for change in changes if change.after
            ),
            "before_header": "packages",
            "after_header": "packages",
        }


def _versions(host: ModuleHost) -> dict[str, str]:
    packages = dpkg.database(host)
    return {
        f"{package.name}:{package.architecture}" if len(same) > 1 else name: package.version
        for name in packages.names()
        for same in [packages.find_all(name)]
        for package in same
        if package.present
    }


def _refresh(args: dict[str, Any], host: ModuleHost, result: Result, alone: bool) -> None:
    if apt_get.lists_age(host) <= args["cache_valid_time"]:
        return
    if host.check:
        result["cache_updated"] = True
        if alone:
            result["unknown"] = "whether the lists differ is known only by fetching them"
        return
    result["cache_updated"] = True
    changed = apt_get.update(
        host,
        args["lock_timeout"],
        args["update_cache_retries"],
        args["update_cache_retry_max_delay"],
    )
    if alone:
        result["changed"] = changed


def _clean(args: dict[str, Any], host: ModuleHost, result: Result) -> None:
    folder = os.path.join(apt_get.ROOT, CACHED_ARCHIVES)
    names = os.listdir(folder) if os.path.isdir(folder) else []
    if any(name.endswith(".deb") for name in names):
        result["changed"] = True
        if not host.check:
            apt_get.apt_get(host, ["clean"], args["lock_timeout"])

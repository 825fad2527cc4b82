"""Users, as Ansible's user manages them; read without a process.

A password is a hash, as Ansible wants it, and goes to chpasswd by its standard input, where
no other user sees it. Not here: `generate_ssh_key` and its relatives, `expires`, `login_class`,
`local`, `skeleton`, `password_expire_*`, `uid_min`, `uid_max`, `umask`.
"""

from __future__ import annotations

import grp
import os
import pwd
from typing import Any

from provision.remote.host import ModuleFailure, ModuleHost, Result
from provision.remote.modes import group_id
from provision.remote.options import Option

OPTIONS = {
    "name": Option(required=True, aliases=("user",)),
    "state": Option(default="present", choices=("absent", "present")),
    "uid": Option("int"),
    "non_unique": Option("bool", default=False, aliases=("nonunique",)),
    "comment": Option(),
    "group": Option(),
    "groups": Option("list"),
    "append": Option("bool", default=False),
    "shell": Option("path"),
    "home": Option("path"),
    "create_home": Option("bool", default=True, aliases=("createhome",)),
    "move_home": Option("bool", default=False),
    "system": Option("bool", default=False),
    "password": Option(),
    "update_password": Option(default="always", choices=("always", "on_create")),
    "password_lock": Option("bool"),
    "remove": Option("bool", default=False),
    "force": Option("bool", default=False),
}

SHADOW = "/etc/shadow"


def run(args: dict[str, Any], host: ModuleHost) -> Result:
    """Return values: name, uid, group (number), home, shell, comment, groups, state."""
    name = args["name"]
    account = _find(name)
    result: Result = {"changed": False, "name": name, "state": args["state"]}
    if args["state"] == "absent":
        if account:
            words = [*(["-r"] if args["remove"] else []), *(["-f"] if args["force"] else [])]
            _do(host, ["userdel", *words, name], result)
        return result
    words = useradd_words(args) if account is None else usermod_words(account, args, host)
    if words:
        _do(host, [*words, name], result)
    _set_password(account is None, args, host, result)
    account = _find(name)
    if account:
        result.update(
            uid=account.pw_uid,
            group=account.pw_gid,
            home=account.pw_dir,
            shell=account.pw_shell,  # a return value  # nosec B604
            comment=account.pw_gecos,
        )
        if args["create_home"] and not os.path.exists(account.pw_dir) and not result["changed"]:
            result["changed"] = True
            if not host.check:
                host.require(["mkhomedir_helper", name], f"making the home folder of {name}")
    if args["groups"] is not None:
        result.update(groups=",".join(args["groups"]), append=args["append"])
    return result


def useradd_words(args: dict[str, Any]) -> list[str]:
    """useradd's words, without the name."""
    words = ["useradd", "-m" if args["create_home"] else "-M"]
    for option, flag in (("comment", "-c"), ("home", "-d"), ("shell", "-s"), ("uid", "-u")):
        if args[option] is not None:
            words += [flag, str(args[option])]
    if args["non_unique"] and args["uid"] is not None:
        words.append("-o")
    if args["group"]:
        words += ["-g", args["group"]]
    elif _group_exists(args["name"]):
        words.append("-N")  # a group of this name is there: useradd would refuse
    if args["groups"]:
        words += ["-G", ",".join(args["groups"])]
    return [*words, *(["-r"] if args["system"] else [])]


def usermod_words(account: pwd.struct_passwd, args: dict[str, Any], host: ModuleHost) -> list[str]:
    """usermod's words for what differs, without the name; none when nothing does."""
    words: list[str] = []
    if args["uid"] is not None and args["uid"] != account.pw_uid:
        words += ["-u", str(args["uid"]), *(["-o"] if args["non_unique"] else [])]
    if args["group"] and _number(args["group"], host) != account.pw_gid:
        words += ["-g", args["group"]]
    if args["groups"] is not None:
        words += _membership(account, args, host)
    if args["comment"] is not None and args["comment"] != account.pw_gecos:
        words += ["-c", args["comment"]]
    if args["shell"] is not None and args["shell"] != account.pw_shell:
        words += ["-s", args["shell"]]
    if args["home"] is not None and args["home"] != account.pw_dir:
        words += ["-d", args["home"], *(["-m"] if args["move_home"] else [])]
    return ["usermod", *words] if words else []


def _membership(account: pwd.struct_passwd, args: dict[str, Any], host: ModuleHost) -> list[str]:
    wanted = {name for name in args["groups"] if name}
    for name in wanted:
        _number(name, host)
    have = {group.gr_name for group in grp.getgrall() if args["name"] in group.gr_mem}
    primary = next(
        (group.gr_name for group in grp.getgrall() if group.gr_gid == account.pw_gid), ""
    )
    if args["append"]:
        missing = wanted - have - {primary}
        return ["-a", "-G", ",".join(sorted(missing))] if missing else []
    if wanted - {primary} == have - {primary}:
        return []
    return ["-G", ",".join(sorted(wanted))]


def _set_password(new: bool, args: dict[str, Any], host: ModuleHost, result: Result) -> None:
    hashed = _hash(args["name"])
    wanted = args["password"]
    if wanted is not None and (new or args["update_password"] == "always"):
        result["password"] = "NOT_LOGGING_PASSWORD"
        if (hashed or "").lstrip("!") != wanted.lstrip("!") or hashed is None:
            line = f"{args['name']}:{wanted}\n"
            _do(host, ["chpasswd", "-e"], result, stdin=line)
            hashed = wanted
    lock = args["password_lock"]
    if lock is not None and hashed is not None and hashed.startswith("!") != lock:
        _do(host, ["usermod", "-L" if lock else "-U", args["name"]], result)


def _hash(name: str) -> str | None:
    """Return the user's entry in the shadow file; None where there is none or it can't be read."""
    try:
        with open(SHADOW, encoding="utf-8", errors="replace") as stream:
            for line in stream:
                fields = line.split(":")
                if fields[0] == name:
                    return fields[1]
    except OSError:
        pass
    return None


def _do(host: ModuleHost, words: list[str], result: Result, **options: Any) -> None:
    result["changed"] = True
    if not host.check:
        host.require(words, f"{words[0]} of {result['name']}", **options)


def _number(group: str, host: ModuleHost) -> int:
    try:
        return group_id(group)
    except ModuleFailure:
        if host.check:
            return -1  # an earlier task would have made it
        raise


def _group_exists(name: str) -> bool:
    try:
        grp.getgrnam(name)
    except KeyError:
        return False
    return True


def _find(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None

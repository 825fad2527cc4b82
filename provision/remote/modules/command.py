"""Run a program, without a shell, as Ansible's command does.

Differs: `creates` and `removes` are looked up in `chdir`; `strip_empty_ends`,
`expand_argument_vars` and both forms (`cmd`, `argv`, free) are Ansible's.
"""

from __future__ import annotations

import contextlib
import glob
import os
import re
import shlex
from datetime import datetime
from typing import Any, Iterator, Mapping

from provision.remote import systemd
from provision.remote.files import is_folder
from provision.remote.host import ModuleFailure, ModuleHost, Result
from provision.remote.options import Option
from provision.remote.paths import failure, reach, via

SHARED_OPTIONS = {
    "_raw_params": Option(),
    "cmd": Option(),
    "chdir": Option("path"),
    "creates": Option("path"),
    "removes": Option("path"),
    "stdin": Option(),
    "stdin_add_newline": Option("bool", default=True),
    "strip_empty_ends": Option("bool", default=True),
}
OPTIONS = {
    **SHARED_OPTIONS,
    "argv": Option("list"),
    "expand_argument_vars": Option("bool", default=True),
}


def run(args: dict[str, Any], host: ModuleHost) -> Result:
    """Return values: cmd, rc, stdout, stderr, their lines, start, end, delta."""
    text = args["cmd"] or args["_raw_params"]
    if bool(text) == bool(args["argv"]):
        raise ModuleFailure("give the command either as text (cmd) or as a list (argv)", rc=256)
    try:
        argv = list(args["argv"] or shlex.split(text))
    except ValueError as error:
        raise ModuleFailure(f"can't split the command into words: {error}: {text}") from None
    if args["expand_argument_vars"]:
        environment = host.base_environment()
        argv = [os.path.expanduser(expand_variables(word, environment)) for word in argv]
    return execute(host, argv, args)


def execute(
    host: ModuleHost, command: str | list[str], args: dict[str, Any], executable: str | None = None
) -> Result:
    """Run `command` for the modules command and shell, unless creates or removes rule it out."""
    result: Result = {
        "changed": False,
        "cmd": command,
        "rc": 0,
        "stdout": "",
        "stderr": "",
        "start": None,
        "end": None,
        "delta": None,
        "msg": "",
    }
    folder = args["chdir"]
    if folder and not is_folder(folder):
        if host.check:
            return {**result, "unknown": f"the folder {folder} is created by an earlier task"}
        raise ModuleFailure(f"can't change to the folder {folder}: it does not exist", **result)
    reason = _done_already(args)
    if reason:
        result.update(stdout=f"skipped, since {reason}", msg=f"Did not run command since {reason}")
        return _with_lines(result)
    if host.check:
        # Ansible reports a skip, and an empty output that was never written; a run would run it.
        return {"changed": True, "would_run": True, "cmd": result["cmd"]}
    stdin = args["stdin"]
    if stdin is not None and args["stdin_add_newline"]:
        stdin += "\n"
    start = datetime.now()
    with working_folder(folder) as cwd:
        done = host.run(command, cwd=cwd, stdin=stdin, executable=executable)
    end = datetime.now()
    systemd.forget_units(host)  # a command may do anything
    stdout, stderr = done.stdout, done.stderr
    if args["strip_empty_ends"]:
        stdout, stderr = stdout.rstrip("\r\n"), stderr.rstrip("\r\n")
    result.update(
        changed=True,
        rc=done.rc,
        stdout=stdout,
        stderr=stderr,
        start=str(start),
        end=str(end),
        delta=str(end - start),
    )
    _with_lines(result)
    if done.rc != 0:
        detail = stderr.strip() or stdout.strip()
        del result["msg"]
        raise ModuleFailure(
            f"non-zero return code {done.rc}" + (f": {detail}" if detail else ""), **result
        )
    return result


@contextlib.contextmanager
def working_folder(path: str | None) -> Iterator[str | None]:
    """Yield a path of a folder that other users cannot replace by another one."""
    if not path:
        yield None
        return
    try:
        with reach(path) as place:
            folder = place.open_folder()
    except OSError as error:
        raise failure("change to the folder", path, error) from None
    try:
        yield via(folder.fd)
    finally:
        os.close(folder.fd)


def expand_variables(word: str, environment: Mapping[str, str]) -> str:
    """Put in $NAME and ${NAME}; an unknown one stays as written."""

    def value(match: re.Match[str]) -> str:
        return environment.get(match.group(1) or match.group(2), match.group(0))

    return re.sub(r"\$(?:(\w+)|\{([^}]+)\})", value, word, flags=re.ASCII)


def _done_already(args: dict[str, Any]) -> str | None:
    def exists(pattern: str) -> bool:
        return bool(glob.glob(os.path.join(args["chdir"] or "", os.path.expanduser(pattern))))

    if args["creates"] and exists(args["creates"]):
        return f"{args['creates']} exists"
    if args["removes"] and not exists(args["removes"]):
        return f"{args['removes']} does not exist"
    return None


def _with_lines(result: Result) -> Result:
    for name in ("stdout", "stderr"):
        result[f"{name}_lines"] = result[name].splitlines()
    return result

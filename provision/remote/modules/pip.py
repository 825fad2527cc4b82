"""Python packages, as Ansible's pip manages them.

What is installed is read from the *.dist-info folders, so a task that has nothing to do starts no
process; `latest`, addresses and paths do need pip. Differs: `virtualenv_command` is virtualenv
where that is installed, else `python3 -m venv`; `changed` means that a package differs. Not here:
`break_system_packages` before pip 23, `virtualenv_python` with venv.
"""

from __future__ import annotations

import glob
import os
import re
import shlex
import shutil
from typing import Any
from urllib.parse import unquote

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion

from provision.remote.host import ModuleFailure, ModuleHost, Result
from provision.remote.options import Option

OPTIONS = {
    "name": Option("list"),
    "requirements": Option(),
    "version": Option(),
    "state": Option(default="present", choices=("absent", "forcereinstall", "latest", "present")),
    "virtualenv": Option("path"),
    "virtualenv_command": Option("path"),
    "virtualenv_python": Option(),
    "virtualenv_site_packages": Option("bool", default=False),
    "executable": Option("path"),
    "extra_args": Option(),
    "editable": Option("bool", default=False),
    "chdir": Option("path"),
    "umask": Option(),
    "break_system_packages": Option("bool", default=False),
}

SYSTEM_FOLDERS = (
    "/usr/local/lib/python3*/dist-packages",
    "/usr/local/lib/python3*/site-packages",
    "/usr/lib/python3/dist-packages",
    "/usr/lib/python3*/site-packages",
)
METADATA = re.compile(r"(?P<name>.+?)-(?P<version>[^-]+)(?:-py[\d.]+)?\.(?:dist|egg)-info")


def run(args: dict[str, Any], host: ModuleHost) -> Result:
    """Return values: cmd, name, requirements, version, state, stdout, stderr, virtualenv."""
    if not args["name"] and not args["requirements"] and not args["virtualenv"]:
        raise ModuleFailure("pip needs name, requirements or virtualenv")
    if args["virtualenv"] and args["executable"]:
        raise ModuleFailure("virtualenv and executable exclude each other")
    names = _requirements(args)
    shown = ("name", "requirements", "version", "state", "virtualenv")
    result: Result = {"changed": False, **{key: args[key] for key in shown if args[key]}}
    environment = args["virtualenv"] and os.path.expanduser(args["virtualenv"])
    if environment and not os.path.exists(os.path.join(environment, "bin", "activate")):
        result["changed"] = True
        if host.check:
            return result
        make_environment(environment, args, host)
    executable = args["executable"] or ""
    if host.check and os.path.isabs(executable) and not os.path.exists(executable):
        # An earlier task makes this pip, with the environment that it installs into.
        return {**result, "changed": True}
    folders = library_folders(environment, args)
    before = installed_versions(folders)
    words = pip_words(names, before, args)
    if words is None:
        return result
    if host.check:
        return _predict(names, before, args, result)
    command = [*pip_command(environment, args), *words]
    # A package may take long to build or download; pip prints its progress.
    done = host.run(command, cwd=args["chdir"], environment={"PIP_DISABLE_PIP_VERSION_CHECK": "1"})
    result.update(cmd=command, stdout=done.stdout, stderr=done.stderr)
    if done.rc != 0:
        raise ModuleFailure(explain(command, done.stdout, done.stderr), **result, rc=done.rc)
    different = installed_versions(library_folders(environment, args)) != before
    forced = args["state"] == "forcereinstall"
    has_installed = "Successfully installed" in done.stdout and not folders
    result["changed"] = result["changed"] or different or forced or has_installed
    return result


def pip_words(names: list[str], have: dict[str, str], args: dict[str, Any]) -> list[str] | None:
    """pip's words to reach the state, or None where it is reached."""
    more = shlex.split(args["extra_args"] or "")
    if args["state"] == "absent":
        requirements = [parse_requirement(name) for name in names]
        names = [canonicalize_name(requirement.name) for requirement in requirements if requirement]
        there = [name for name in names if name in have]
        if args["requirements"]:
            return ["uninstall", "-y", *more, "-r", args["requirements"]]
        return ["uninstall", "-y", *more, *there] if there else None
    if args["state"] == "present":
        missing = [name for name in names if not is_satisfied(name, have)]
        listed = args["requirements"] and not are_all_satisfied(args, have)
        if not missing and not listed:
            return None
    else:
        missing, listed = names, args["requirements"]
    words = ["install"]
    words += {"latest": ["-U"], "forcereinstall": ["-U", "--force-reinstall"]}.get(
        args["state"], []
    )
    words += ["--break-system-packages"] if args["break_system_packages"] else []
    for name in missing:
        more += ["-e", name] if args["editable"] else [name]
    return [*words, *more, *(["-r", args["requirements"]] if listed else [])]


def parse_requirement(text: str) -> Requirement | None:
    """Return a requirement; None for what is not a name with clauses (an address, a path)."""
    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        return None
    return None if requirement.url else requirement


def meets(requirement: Requirement, have: dict[str, str]) -> bool:
    """Return whether what is installed meets a requirement; with a marker only pip can tell."""
    version = have.get(canonicalize_name(requirement.name))
    if version is None or requirement.marker is not None:
        return False
    try:
        return requirement.specifier.contains(version, prereleases=True)
    except InvalidVersion:
        return not requirement.specifier


def is_satisfied(text: str, have: dict[str, str]) -> bool:
    """Return whether a requirement is met; an address never is, a wheel may be."""
    requirement = parse_requirement(text) or _wheel(text)
    return requirement is not None and meets(requirement, have)


def are_all_satisfied(args: dict[str, Any], have: dict[str, str]) -> bool:
    """Return whether a file of requirements is met; False where only pip can tell."""
    lines = listed_requirements(args)
    return lines is not None and all(is_satisfied(line, have) for line in lines)


def any_differs(args: dict[str, Any], have: dict[str, str]) -> bool:
    """Return whether a file has a requirement without marker that is not met: pip installs it."""
    requirements = map(parse_requirement, listed_requirements(args) or ())
    return any(
        requirement and requirement.marker is None and not meets(requirement, have)
        for requirement in requirements
    )


def listed_requirements(args: dict[str, Any]) -> list[str] | None:
    """Return the lines of the file of requirements, without options; None if it can't be read.

    Hashes are left out: pip checks them when it installs.
    """
    if not args["requirements"]:
        return None
    path = os.path.join(args["chdir"] or "", args["requirements"])
    try:
        with open(path, encoding="utf-8") as stream:
            text = stream.read().replace("\\\n", " ")
    except OSError:
        return None
    lines = []
    for line in text.splitlines():
        line = re.sub(r"(^|\s)#.*", "", line).strip()
        line = re.sub(r"\s+--hash[= ]\S+", "", line)
        if line and not line.startswith(
            ("-i ", "--index-url", "--extra-index-url", "--find-links", "-f ", "--require-hashes")
        ):
            lines.append(line)
    return lines


def installed_versions(folders: list[str]) -> dict[str, str]:
    """Return the packages in these folders: canonical name -> version; an earlier folder counts."""
    versions: dict[str, str] = {}
    for folder in folders:
        try:
            names = os.listdir(folder)
        except OSError:
            continue
        for name in names:
            match = METADATA.fullmatch(name)
            if match:
                versions.setdefault(canonicalize_name(match.group("name")), match.group("version"))
    return versions


def library_folders(environment: str | None, args: dict[str, Any]) -> list[str]:
    """Return where the packages lie that this pip manages."""
    folders: list[str] = []
    if environment:
        folders = glob.glob(os.path.join(glob.escape(environment), "lib/python3*/site-packages"))
        if not args["virtualenv_site_packages"]:
            return folders
    elif args["executable"] and os.path.isabs(args["executable"]):
        home = os.path.dirname(os.path.dirname(args["executable"]))
        site_packages = glob.glob(os.path.join(glob.escape(home), "lib/python3*/site-packages"))
        if site_packages and os.path.exists(os.path.join(home, "pyvenv.cfg")):
            return site_packages
        folders = site_packages
    return folders + [path for pattern in SYSTEM_FOLDERS for path in sorted(glob.glob(pattern))]


def pip_command(environment: str | None, args: dict[str, Any]) -> list[str]:
    """Return how this pip is called; raises ModuleFailure where there is none."""
    if environment:
        return [os.path.join(environment, "bin", "python"), "-m", "pip"]
    if args["executable"]:
        return [args["executable"]]
    for name in ("pip3", "pip"):
        if shutil.which(name):
            return [name]
    raise ModuleFailure("pip is not installed on this rig: install python3-pip, or use virtualenv")


def make_environment(path: str, args: dict[str, Any], host: ModuleHost) -> None:
    """Create a virtual environment. Raises ModuleFailure with what is missing."""
    default = "virtualenv" if shutil.which("virtualenv") else "python3 -m venv"
    command = shlex.split(args["virtualenv_command"] or default)
    command += ["--system-site-packages"] if args["virtualenv_site_packages"] else []
    if args["virtualenv_python"]:
        if "venv" in command:
            raise ModuleFailure("venv has no choice of a Python: name it in virtualenv_command")
        command += ["--python", args["virtualenv_python"]]
    done = host.run([*command, path], cwd=args["chdir"])
    if done.rc != 0:
        hint = ""
        if "ensurepip" in done.stdout + done.stderr:
            hint = "; install the package python3-venv first"
        detail = done.stderr.strip() or done.stdout.strip()
        raise ModuleFailure(
            f"could not make the virtual environment {path}{hint}: {detail}",
            rc=done.rc,
            stdout=done.stdout,
            stderr=done.stderr,
            cmd=command,
        )


def explain(command: list[str], stdout: str, stderr: str) -> str:
    """Return why pip failed, then its own words."""
    text = f"{stdout}\n{stderr}"
    reasons = (
        (r"externally-managed-environment", "this Python belongs to the system: use a virtualenv"),
        (r"No matching distribution found for (\S+)", "no index has {0} for this Python"),
        (r"No space left on device", "the disk is full"),
        (r"(?:Max retries exceeded|Failed to establish)", "the package index can't be reached"),
    )
    first = "pip failed"
    for expression, reason in reasons:
        match = re.search(expression, text)
        if match:
            first = reason.format(*match.groups())
            break
    return f"{first}: {' '.join(command)}\n{stderr.strip() or stdout.strip()}"


def _predict(
    names: list[str], have: dict[str, str], args: dict[str, Any], result: Result
) -> Result:
    unmet = any(not is_satisfied(name, have) for name in names) or any_differs(args, have)
    if args["state"] in ("latest", "present") and not unmet:
        return {**result, "unknown": "only pip knows whether there is something to install"}
    if args["requirements"] and not names:
        path = os.path.join(args["chdir"] or "", args["requirements"])
        if not os.path.exists(path):
            result["unknown"] = f"{path} is made by an earlier task"
    return {**result, "changed": True}


def _requirements(args: dict[str, Any]) -> list[str]:
    """Return the requirements; a comma may separate two, or two clauses of one."""
    names: list[str] = []
    for text in args["name"] or []:
        for part in text.split(","):
            if names and re.match(r"\s*[<>=!~]", part):
                names[-1] += f",{part.strip()}"
            elif part.strip():
                names.append(part.strip())
    if args["version"]:
        if len(names) != 1 or re.search(r"[<>=!~]", names[0]):
            raise ModuleFailure("version needs one name without a version")
        names[0] += f"=={args['version']}"
    return names


def _wheel(text: str) -> Requirement | None:
    """Return the name and version that a wheel's file name has, as a requirement."""
    file = re.search(r"(?:^|/)([^/#]+\.whl)(?:#|$)", text)
    if not file:
        return None
    try:
        name, version, _, _ = parse_wheel_filename(unquote(file.group(1)))
    except InvalidWheelFilename:
        return None
    return Requirement(f"{name}=={version}")

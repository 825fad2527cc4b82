#!/usr/bin/python3 -I
"""pip's `install` for the virtual environment that this file lies in, done by uv where uv can.

It takes pip's words and honours pip's settings (pip.conf, PIP_…: index, proxy, certificates, local
folders), which uv does not read. pip itself does what uv cannot: options that uv does not have, a
Python that is too old for it, a rig on which it does not run. The reason is printed. `fetch` takes
the words of `install`, and only fills the cache; `list-files` takes them, and prints the wheels
that would be installed, as lines `SHA256 SIZE URL` (size 0: unknown), after the variables by which
others fetch as pip would. Every other command of pip's goes to pip.

Runs on the rig, under Python 3.8 or newer. /opt/deeprig/uv holds uv and the pip of all environments
(playbooks/tasks/python_installer.yml makes it).
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Dict, List, NoReturn

ENVIRONMENT = Path(__file__).absolute().parents[1]
PYTHON = str(ENVIRONMENT / "bin/python")
INSTALLER = Path("/opt/deeprig/uv")
CACHE = INSTALLER.parent / "cache"
#: Wheels that are here, as an index (fetch_ahead.py): it comes before all others.
INDEX = CACHE / "index"
SYSTEM_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"

Settings = Dict[str, List[str]]

#: pip's options that have several values, separated by blanks in its settings.
LISTS = ("constraint", "extra-index-url", "find-links", "trusted-host")
#: pip's option -> uv's variable, and what separates several values there. Variables, because
#: addresses may hold passwords, and every user can read the words of a command.
VARIABLES = {
    "cert": ("SSL_CERT_FILE", ""),
    "client-cert": ("SSL_CLIENT_CERT", ""),
    "constraint": ("UV_CONSTRAINT", " "),
    "extra-index-url": ("UV_INDEX", " "),
    "find-links": ("UV_FIND_LINKS", ","),
    "index-url": ("UV_DEFAULT_INDEX", ""),
    "retries": ("UV_HTTP_RETRIES", ""),
    "timeout": ("UV_HTTP_TIMEOUT", ""),
    "trusted-host": ("UV_INSECURE_HOST", " "),
}
#: pip's switches -> uv's words.
SWITCHES = {
    "force-reinstall": "--reinstall",
    "no-deps": "--no-deps",
    "no-index": "--no-index",
    "pre": "--prerelease=allow",
    "require-hashes": "--require-hashes",
    "upgrade": "--upgrade",
}
#: uv's variables that concern every program that fetches.
FOR_OTHERS = frozenset(
    (
        *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"),
        *("SSL_CERT_FILE", "SSL_CLIENT_CERT", "UV_INSECURE_HOST"),
    )
)
#: uv's words for `install` that its `compile` does not have.
NOT_OF_COMPILE = ("--require-hashes", "--reinstall", "--compile-bytecode")
#: What changes nothing of what is installed, or is what uv does anyway.
WITHOUT_EFFECT = frozenset(
    (
        *("break-system-packages", "cache-dir", "compile", "config-file", "log"),
        *("disable-pip-version-check", "no-compile"),
        *("no-cache-dir", "no-color", "no-input", "no-python-version-warning"),
        *("no-warn-conflicts", "no-warn-script-location", "prefer-binary", "progress-bar"),
        *("quiet", "require-virtualenv", "root-user-action", "verbose", "format"),
    )
)
#: Another name of a setting.
OTHER_NAMES = {"default-timeout": "timeout", "no-dependencies": "no-deps", "pypi-url": "index-url"}
OFF = ("", "0", "false", "no", "off", "n", "f")


class NotByUv(Exception):
    """Why pip has to install."""


class Words(argparse.ArgumentParser):
    """A parser that leaves to pip what it cannot read."""

    def error(self, message: str) -> NoReturn:
        """Raise NotByUv instead of ending the program."""
        raise NotByUv(message)


def main(words: list[str]) -> int:
    """Return the exit status of uv, or of pip."""
    pip = [PYTHON, str(find_pip())]
    if words[:1] == ["fetch"]:
        return fetch(words[1:], pip)
    if words[:1] == ["list-files"]:
        return list_files(words[1:], pip)
    if words[:1] != ["install"]:
        return subprocess.run([*pip, *words], check=False).returncode
    try:
        return install(words[1:], read_settings(pip))
    except NotByUv as reason:
        print(f"pip instead of uv: {reason}", flush=True)
    return subprocess.run([*pip, *words], check=False).returncode


def find_pip() -> Path:
    """Return the folder of pip, which Python runs as a program.

    Any Python may run it: pip installs into the environment of its Python.
    """
    for folder in sorted(INSTALLER.glob("lib/python3*/site-packages/pip")):
        return folder
    sys.exit(f"pip is missing in {INSTALLER}: remove that folder, and provision the rig again")


def read_settings(pip: list[str]) -> Settings:
    """Return pip's settings for `install`: a section of the command's own wins, then variables."""
    done = subprocess.run([*pip, "config", "list"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NotByUv(f"pip's settings cannot be read: {done.stderr.strip()}")
    sections: dict[str, Settings] = {"global": {}, "install": {}, ":env:": {}}
    for line in done.stdout.splitlines():
        match = re.fullmatch(r"(global|install|:env:)\.([^=]+)=(.*)", line)
        if match:
            section, name, value = match.groups()
            name = OTHER_NAMES.get(name, name)
            sections[section][name] = split_value(name, str(ast.literal_eval(value)))
    return {**sections["global"], **sections["install"], **sections[":env:"]}


def split_value(name: str, value: str) -> list[str]:
    """Return the values of a setting.

    >>> split_value("find-links", "/srv/a  /srv/b"), split_value("no-index", "false")
    (['/srv/a', '/srv/b'], [])
    """
    if name in LISTS:
        return value.split()
    return [] if value.strip().lower() in OFF else [value.strip()]


def read_words(words: list[str]) -> tuple[Settings, list[str], bool]:
    """Return the options, uv's words for what to install, and whether to compile it.

    Raises NotByUv for an option that uv does not have.
    """
    parser = Words(add_help=False, allow_abbrev=False)
    parser.add_argument("-r", "--requirement", action="append", default=[])
    parser.add_argument("-c", "--constraint", action="append", default=[])
    parser.add_argument("-i", "--index-url", action="append")
    parser.add_argument("-f", "--find-links", action="append", default=[])
    parser.add_argument("-U", "--upgrade", action="store_const", const=["1"])
    parser.add_argument("--extra-index-url", action="append", default=[])
    parser.add_argument("--trusted-host", action="append", default=[])
    for name in set(SWITCHES) - {"upgrade"}:
        parser.add_argument(f"--{name}", action="store_const", const=["1"])
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("names", nargs="*")
    read = vars(parser.parse_intermixed_args(words))
    names, files = read.pop("names"), read.pop("requirement")
    compiles = not read.pop("no_compile")
    what = [*(word for file in files for word in ("-r", file)), "--", *names]
    return {key.replace("_", "-"): value for key, value in read.items() if value}, what, compiles


def translate(settings: Settings) -> tuple[list[str], dict[str, str]]:
    """Return uv's words and variables for pip's options.

    Raises NotByUv for an option that uv does not have.
    """
    words, variables = [], {}
    for name, values in settings.items():
        if not values or name in WITHOUT_EFFECT:
            continue
        if name in VARIABLES:
            variable, separator = VARIABLES[name]
            variables[variable] = separator.join(values if separator else values[-1:])
        elif name in SWITCHES:
            words.append(SWITCHES[name])
        elif name == "proxy":
            variables.update(dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), values[-1]))
        elif name in ("only-binary", "no-binary"):
            words += [f"--{name}={part}" for part in values[-1].split(",")]
        else:
            raise NotByUv(f"uv does not have pip's option {name}")
    for folder in settings.get("find-links", []):
        if "," in folder or folder.endswith((".htm", ".html")):
            raise NotByUv(f"uv does not take {folder} as a list of links")
    return words, variables


def environment(variables: dict[str, str]) -> dict[str, str]:
    """Return the environment of uv: pip's settings, and none of uv's own.

    Certificates are those that pip trusts: of its settings, of the session, or the system's.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("UV_") or name == "UV_CONCURRENT_DOWNLOADS"
    }
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        if name in variables:
            kept.pop(name.lower(), None)
    for name in ("CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE"):
        if kept.get(name):
            kept["SSL_CERT_FILE"] = kept[name]
    if Path(SYSTEM_CERTIFICATES).exists():
        kept.setdefault("SSL_CERT_FILE", SYSTEM_CERTIFICATES)
    if (INDEX / "simple").is_dir():
        others = variables.get("UV_INDEX", "")
        variables = {**variables, "UV_INDEX": f"{(INDEX / 'simple').as_uri()} {others}".strip()}
    return {
        **kept,
        # As pip chooses: the best version of all indexes, not the first index that has any.
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        # Beside the environments: a package is linked from the cache, not copied.
        "UV_CACHE_DIR": str(CACHE / "uv"),
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_NO_PROGRESS": "1",
        **variables,
    }


def fetch(words: list[str], pip: list[str]) -> int:
    """Fill uv's cache with what `install` would need; return 0, or 1 where uv cannot."""
    folder = CACHE / "ahead"
    CACHE.mkdir(parents=True, exist_ok=True)
    lock = (CACHE / "ahead.lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    # Of what comes at once, a reboot leaves nothing; what is complete stays.
    os.environ["UV_CONCURRENT_DOWNLOADS"] = "2"
    try:
        run_uv(words, read_settings(pip), [f"--target={folder}"])
    except NotByUv as reason:
        print(f"not fetched: {reason}", flush=True)
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.close()
    return 0


def list_files(words: list[str], pip: list[str]) -> int:
    """Print the wheels that `install` would install; return 0, or 1 where uv cannot."""
    try:
        options, what, variables = prepare(words, read_settings(pip))
        names = what[what.index("--") + 1 :]
        files = [word for word in what[: what.index("--")] if word != "-r"]
        command = [str(INSTALLER / "bin/uv"), "pip", "compile", "-q", "--no-config"]
        command += [f"--python={PYTHON}", "--format=pylock.toml", "--no-header"]
        command += [word for word in options if word not in NOT_OF_COMPILE]
        done = subprocess.run(
            [*command, *files, *(["-"] if names else [])],
            input="\n".join(names),
            env=environment(variables),
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
    except (NotByUv, OSError) as reason:
        print(f"not listed: {reason}", file=sys.stderr, flush=True)
        return 1
    for name in FOR_OTHERS & set(variables):
        print(f"{name}={variables[name]}")
    for wheels in re.findall(r"(?ms)^wheels = \[(.*?)\]$", done.stdout):
        for row in re.findall(r"\{ (.*?\}) \}", wheels):
            url, digest = (
                re.search(pattern, row)
                for pattern in (r'url = "([^"]+)"', r'sha256 = "([0-9a-f]{64})"')
            )
            size = re.search(r"size = (\d+)", row)
            if url and digest:
                print(digest[1], size[1] if size else 0, url[1])
    return done.returncode


def install(words: list[str], settings: Settings) -> int:
    """Install with uv; return 0. Raises NotByUv where it cannot."""
    remove_scratch()
    installed, surroundings = run_uv(words, settings, [])
    if installed:
        # By force: a fetch may use the cache meanwhile, but not these packages.
        # Their files stay in the environment: the cache has only further links to them.
        names = [name for name, _ in installed]
        uv = str(INSTALLER / "bin/uv")
        subprocess.run(
            [uv, "cache", "clean", "-q", "--force", *names], env=surroundings, check=False
        )
        remove_wheels(names)
        # pip's line, by which Ansible knows that something has changed.
        print("Successfully installed", *(f"{name}-{version}" for name, version in installed))
    return 0


def remove_scratch() -> None:
    """Delete the folder of a fetch that was cut off, but not of a fetch that runs."""
    if not (CACHE / "ahead").is_dir():
        return
    with (CACHE / "ahead.lock").open("w") as lock, contextlib.suppress(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(CACHE / "ahead", ignore_errors=True)


def remove_wheels(names: list[str]) -> None:
    """Delete the wheels of these packages that were here before their installation."""
    projects = {normalize(name) for name in names}
    for project in projects:
        shutil.rmtree(INDEX / "simple" / project, ignore_errors=True)
    for wheel in INDEX.glob("files/*.whl"):
        if normalize(wheel.name.split("-")[0]) in projects:
            wheel.unlink()


def normalize(name: str) -> str:
    """Return a project's name as indexes write it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def prepare(words: list[str], settings: Settings) -> tuple[list[str], list[str], dict[str, str]]:
    """Return uv's options, its words for what to install, and its variables.

    Raises NotByUv for an option that uv does not have.
    """
    options, what, compiles = read_words(words)
    for name in LISTS:  # pip adds these to its settings; another option replaces its setting
        options[name] = [*settings.get(name, []), *options.get(name, [])]
    merged = {**settings, **options}
    if merged.get("require-hashes"):
        # A lock has one version of each package; uv takes no constraints without hashes beside it.
        merged.pop("constraint")
    more, variables = translate(merged)
    if compiles and merged.get("compile", ["1"]) and not merged.get("no-compile"):
        more.append("--compile-bytecode")
    return more, what, variables


def run_uv(
    words: list[str], settings: Settings, further: list[str]
) -> tuple[list[tuple[str, str]], dict[str, str]]:
    """Let uv install; return the packages with their versions, and uv's environment.

    Raises NotByUv where it cannot.
    """
    more, what, variables = prepare(words, settings)
    uv = str(INSTALLER / "bin/uv")
    surroundings = environment(variables)
    try:
        with subprocess.Popen(
            [uv, "pip", "install", "--no-config", f"--python={PYTHON}", *more, *further, *what],
            env=surroundings,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            assert process.stdout is not None
            installed: list[tuple[str, str]] = []
            for line in process.stdout:
                print(line, end="", flush=True)
                installed += re.findall(r"^ [+~] (\S+)==(\S+)", line)
    except OSError as error:
        raise NotByUv(f"{uv} does not run: {error.strerror}") from None
    if process.returncode != 0:
        raise NotByUv(f"uv failed (exit status {process.returncode}), as printed above")
    return installed, surroundings


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

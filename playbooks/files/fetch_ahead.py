#!/usr/bin/python3 -I
"""Fetch what the steps driver, cuda, nccl and pytorch install, while the rig does other work.

    fetch_ahead.py PLAN

Two units run it, one for packages (playbooks/ahead.yml) and one for wheels (playbooks/wheels.yml),
with plans in JSON. For packages:

    packages     lists of packages, the driver's first
    folder       scratch, beside apt's own archive folder
    repository   the vendor's repository; keyring: the key that signs it
    left_out     files of apt's sources that are not used
    pins         lines of apt's preferences, as the step driver will have them

For wheels:

    wheels       lists of pip's words
    installer    the program that takes them (pip_by_uv.py)

In both, `cache` is where the operator's machine hands out files, or "".

Nothing of apt's settings is changed. apt resolves and checks with separate lists in the scratch
folder, where the vendor's must have the vendor's signature. A file gets its name when its SHA-256
is right. What is missing in the end is fetched by the steps themselves.

Runs on the rig, under Python 3.8 or newer.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import Any, Dict, Iterator, NamedTuple
from urllib.parse import quote, unquote, urlsplit

LOCKS = Path("/run")
#: As pip_by_uv.py has it: wheels that are here, as an index.
INDEX = Path("/opt/deeprig/cache/index")
TIMEOUT = 120.0  # seconds without a byte
CHUNK = 1 << 20  # bytes
AT_ONCE = 2  # files: while the last bytes of one are checked, the next comes
Plan = Dict[str, Any]


class Wanted(NamedTuple):
    """A file: where it is, its name here, its size (0: unknown) and its SHA-256."""

    url: str
    name: str
    size: int
    sha256: str


class NotFetched(Exception):
    """Why a file, or a list of them, is not here."""


def main(words: list[str]) -> int:
    """Return 0 when everything is here."""
    plan: Plan = json.loads(Path(words[0]).read_text())
    work = fetch_packages if "packages" in plan else fetch_all_wheels
    problems = work(plan)
    for problem in problems:
        print(f"not fetched: {problem}", flush=True)
    if not problems:  # the same plan is not worth another run
        Path(words[0]).replace(Path(words[0]).with_suffix(".done"))
    return 1 if problems else 0


def fetch_packages(plan: Plan) -> list[str]:
    """Fetch packages; return what went wrong."""
    # The step driver waits for the first lock, fetch_on.yml for the second before the step cuda.
    driver, packages = take_lock("driver"), take_lock("packages")
    report_ready()
    try:
        source = PackageSource(plan)
        source.prepare()
        for group in plan["packages"]:
            if group:
                source.fetch(group)
            driver.close()  # that of the first group
        source.remove()
    except (NotFetched, OSError) as error:
        return [str(error)]
    finally:
        driver.close()
        packages.close()
    return []


def fetch_all_wheels(plan: Plan) -> list[str]:
    """Fetch wheels, after the packages; return what went wrong."""
    wheels = take_lock("wheels")  # the step pytorch waits for it
    report_ready()
    take_lock("packages").close()
    problems = []
    for what in plan["wheels"]:
        try:
            fetch_wheels(what, plan)
        except (NotFetched, OSError) as error:
            problems.append(str(error))
    wheels.close()
    return problems


def take_lock(name: str) -> Any:
    """Return the lock of a part, open; its release is the end of that part."""
    stream = (LOCKS / f"deeprig-fetch.{name}.lock").open("w")
    fcntl.flock(stream, fcntl.LOCK_EX)
    return stream


def report_ready() -> None:
    """Let systemd-run return: the locks are taken."""
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notice:
            notice.sendto(b"READY=1", address.replace("@", "\0", 1))


# -- packages


class PackageSource:
    """apt with sources, lists and archives in a scratch folder."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.folder = Path(plan["folder"])
        self.archives = self.folder / "archives"

    def prepare(self) -> None:
        """Write the settings, and fetch the vendor's list. Raises NotFetched."""
        for name in ("parts", "preferences", "lists"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        for name in ("parts", "preferences", "lists/partial", "archives/partial"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        for file in Path("/etc/apt/sources.list.d").glob("*"):
            if file.suffix in (".list", ".sources") and str(file) not in self.plan["left_out"]:
                (self.folder / "parts" / file.name).symlink_to(file)
        vendor = self.folder / "parts/deeprig-vendor.sources"
        vendor.write_text(
            f"Types: deb\nURIs: {self.plan['repository']}\nSuites: /\n"
            f"Signed-By: {self.plan['keyring']}\n"
        )
        for file in Path("/etc/apt/preferences.d").glob("*"):
            shutil.copy(str(file), str(self.folder / "preferences"))
        (self.folder / "preferences/00deeprig-driver").write_text(self.plan["pins"])
        # The rig's own lists are there, and are not fetched again.
        for file in Path("/var/lib/apt/lists").glob("*"):
            if file.is_file() and file.name != "lock":
                (self.folder / "lists" / file.name).symlink_to(file)
        listed = "/etc/apt/sources.list"
        listed = "/dev/null" if listed in self.plan["left_out"] else listed
        (self.folder / "apt.conf").write_text(
            f'Dir::State::Lists "{self.folder}/lists";\n'
            f'Dir::Etc::SourceList "{listed}";\n'
            f'Dir::Etc::SourceParts "{self.folder}/parts";\n'
            f'Dir::Etc::PreferencesParts "{self.folder}/preferences";\n'
            f'Dir::Cache "{self.folder}";\n'
            f'Dir::Cache::Archives "{self.archives}";\n'
            # dpkg may work meanwhile, and must not wait: nothing of dpkg's is written.
            'Debug::NoLocking "true";\n'
            'Acquire::Languages "none";\n'
            'Acquire::ForceHash "SHA256";\n'
            "#clear APT::Update::Pre-Invoke;\n"
            "#clear APT::Update::Post-Invoke;\n"
            "#clear APT::Update::Post-Invoke-Success;\n"
        )
        only = [f"-oDir::Etc::SourceList={vendor}", "-oDir::Etc::SourceParts=/dev/null"]
        self._run(
            *only, "-oAPT::Get::List-Cleanup=false", "-oAPT::Update::Error-Mode=any", "update"
        )

    def fetch(self, packages: list[str]) -> None:
        """Fetch what these packages need, into apt's own archive folder. Raises NotFetched."""
        words = ["--yes", "--allow-downgrades", "--allow-change-held-packages", "--ignore-hold"]
        printed = self._run(*words, "--print-uris", "install", *packages)
        wanted, target = list(read_uris(printed)), find_archives()
        for file in wanted:
            # An earlier fetch, which a reboot ended, has left it.
            if (target / file.name).exists() and hash_file(target / file.name) == file.sha256:
                link(target / file.name, self.archives / file.name)
        if self.plan["cache"]:
            asked = [file for file in wanted if file.url.startswith("http")]
            take_all(asked, self.archives, self.plan["cache"], direct=False)
        self._run(*words, "--download-only", "install", *packages)
        for path in self.archives.glob("*.deb"):  # also those that came before a reboot
            link(path, target / path.name)
        size = sum(file.size for file in wanted)
        print(f"{' '.join(packages)}: {len(wanted)} packages, {size / 1e6:.0f} MB", flush=True)

    def remove(self) -> None:
        """Delete the scratch folder: its packages are in apt's own."""
        shutil.rmtree(str(self.folder), ignore_errors=True)

    def _run(self, *words: str) -> str:
        """Return what apt-get prints. Raises NotFetched with its errors."""
        done = subprocess.run(
            ["apt-get", "-q", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            env={
                **os.environ,
                "APT_CONFIG": str(self.folder / "apt.conf"),
                "LC_ALL": "C",
                "DEBIAN_FRONTEND": "noninteractive",
            },
        )
        if done.returncode != 0:
            errors = [
                line for line in done.stdout.splitlines() if re.match(r"E:|Err:|W: Failed", line)
            ]
            raise NotFetched("; ".join(errors) or f"apt-get failed ({done.returncode})")
        return done.stdout


def find_archives() -> Path:
    """Return the folder that apt installs packages from."""
    command = ["apt-config", "shell", "folder", "Dir::Cache::Archives/d"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    match = re.match(r"folder='(/.*)'$", done.stdout.strip())
    return Path(match[1] if match else "/var/cache/apt/archives")


def read_uris(text: str) -> Iterator[Wanted]:
    """Yield the files of apt-get's --print-uris that have a SHA-256."""
    for line in text.splitlines():
        match = re.fullmatch(r"'([^']+)' (\S+) (\d+) SHA256:([0-9a-f]{64})", line.strip())
        if match and "/" not in match[2]:
            yield Wanted(match[1], match[2], int(match[3]), match[4])


def link(source: Path, target: Path) -> None:
    """Give a file a second name; it replaces a file that has it."""
    draft = target.with_name(f".deeprig-{target.name}")
    if draft.exists():
        draft.unlink()
    try:
        os.link(str(source), str(draft))
    except OSError:  # another file system
        shutil.copyfile(str(source), str(draft))
    draft.chmod(0o644)
    draft.replace(target)


# -- wheels


def fetch_wheels(words: list[str], plan: Plan) -> None:
    """Fill uv's cache with what these words of pip's would install. Raises NotFetched."""
    command = [plan["installer"], "list-files", *words]
    # Nothing where it fails: then the installer fetches all of it.
    listed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False).stdout
    settings = dict(re.findall(r"(?m)^(\w+)=(.*)$", listed))
    # uv fetches itself where urllib could not do as pip's settings want it.
    direct = not {"SSL_CLIENT_CERT", "UV_INSECURE_HOST"} & set(settings)
    wanted = list(read_files(listed))
    os.environ.update(settings)
    try:
        take_all(wanted, INDEX / "files", plan["cache"], direct)
    finally:
        write_index([file for file in wanted if (INDEX / "files" / file.name).exists()])
        for name in settings:
            os.environ.pop(name, None)
    if subprocess.run([plan["installer"], "fetch", "--no-compile", *words], check=False).returncode:
        raise NotFetched("the installer's reason is above")


def read_files(text: str) -> Iterator[Wanted]:
    """Yield the files of lines `SHA256 SIZE URL`, as pip_by_uv.py prints them."""
    for line in text.splitlines():
        match = re.fullmatch(r"([0-9a-f]{64}) (\d+) (https?://\S+)", line)
        if match:
            name = unquote(urlsplit(match[3]).path).rpartition("/")[2]
            if name.endswith(".whl"):
                yield Wanted(match[3], name, int(match[2]), match[1])


def write_index(files: list[Wanted]) -> None:
    """Add pages of a simple index (PEP 503) for these wheels."""
    for file in files:
        project = re.sub(r"[-_.]+", "-", file.name.split("-")[0]).lower()
        page = INDEX / "simple" / project / "index.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        link = f"../../files/{quote(file.name)}#sha256={file.sha256}"
        page.write_text(f'<html><body><a href="{link}">{file.name}</a></body></html>\n')


# -- files


def take_all(wanted: list[Wanted], folder: Path, cache: str, direct: bool) -> None:
    """Take files from the operator's machine, or from where they are; what neither has is left.

    cache: "" for no such machine. direct: whether files may be fetched from their own addresses.
    """
    folder.mkdir(parents=True, exist_ok=True)
    left = iter(wanted)
    turn = threading.Lock()

    def work() -> None:
        while True:
            with turn:
                file = next(left, None)
            if file is None:
                return
            places = [("the operator's machine", True)] if cache else []
            for place, is_cache in [*places, ("its index", False)] if direct else places:
                try:
                    take(file, folder / file.name, cache if is_cache else "")
                except (NotFetched, OSError) as error:
                    print(f"{file.name}: not from {place}: {error}", flush=True)
                else:
                    print(f"{file.name}: from {place}", flush=True)
                    break

    workers = [threading.Thread(target=work) for _ in range(AT_ONCE)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def take(file: Wanted, target: Path, cache: str) -> None:
    """Take a file, from the byte on that is missing here. cache: "" for its own address.

    Raises NotFetched, OSError.
    """
    if target.exists() and hash_file(target) == file.sha256:
        return
    draft = target.with_name(f"{target.name}.part")
    have = draft.stat().st_size if draft.exists() else 0
    size = have
    if not have or hash_file(draft) != file.sha256:
        try:
            size = receive(file, draft, have, cache)
        except urllib.error.HTTPError as error:
            if error.code == 416 and have:  # the draft is longer than the file
                draft.unlink()
                take(file, target, cache)
                return
            raise NotFetched(str(error.reason)[:200]) from None
        except HTTPException as error:
            raise NotFetched(f"the connection ended: {error!r}") from None
    if draft.stat().st_size < size:
        raise NotFetched(f"it ended after {draft.stat().st_size} of {size} bytes")
    if hash_file(draft) != file.sha256:
        draft.unlink()
        raise NotFetched("it has another SHA-256")
    draft.replace(target)


def receive(file: Wanted, draft: Path, have: int, cache: str) -> int:
    """Write what comes into the draft; return the size that the file is to have.

    Raises OSError, HTTPException.
    """
    headers = {"Range": f"bytes={have}-"} if have else {}
    url = f"{cache}/{file.sha256}?size={file.size}&url={quote(file.url, safe='')}"
    request = urllib.request.Request(url if cache else file.url, headers=headers)
    # The rig's loopback has no proxy; others are those of pip's settings.
    proxies = [urllib.request.ProxyHandler({})] if cache else []
    with urllib.request.build_opener(*proxies).open(request, timeout=TIMEOUT) as answer:
        offset = have if answer.status == 206 else 0
        with draft.open("r+b" if have else "wb") as stream:
            stream.seek(offset)
            stream.truncate()
            shutil.copyfileobj(answer, stream, CHUNK)
        return offset + int(answer.headers["Content-Length"] or 0)


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for chunk in iter(lambda: stream.read(CHUNK), b""):
            digest.update(chunk)
    return digest.hexdigest()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Run apt-get without prompts; wait for its locks, and explain its errors."""

from __future__ import annotations

import glob
import os
import re
import time
from typing import Any, NamedTuple, Sequence

from provision.remote import dpkg
from provision.remote.facts import package_lists
from provision.remote.facts.apt_state import read_package_lists
from provision.remote.facts.package_state import LockHolder, find_lock_holder
from provision.remote.facts.tree import Tree
from provision.remote.host import CommandResult, ModuleFailure, ModuleHost

ROOT = "/"  # what the paths below are relative to
SOURCES = ("etc/apt/sources.list", "etc/apt/sources.list.d", "etc/apt/sources.list.d/*")

ENVIRONMENT = {
    "DEBIAN_FRONTEND": "noninteractive",
    "DEBIAN_PRIORITY": "critical",
    "NEEDRESTART_MODE": "a",  # its menu would wait for ever
    "APT_LISTCHANGES_FRONTEND": "none",
    "UCF_FORCE_CONFFOLD": "1",
}
LOCKED = re.compile(r"Could not get lock (\S+?)[.,]?\s|Unable to lock (?:directory )?(\S+)")
#: What dpkg writes, which does not wait for its own lock.
DPKG_LOCKED = re.compile(r"(lock was|is) locked by another process")
DPKG_LOCK_SECONDS = 600  # an upgrade that another package manager runs on a slow disk
SHOW_SECONDS = 30  # between two lines about the process that is waited for
#: What apt-get writes of a repository whose signature it can't verify: by gpgv, or (apt 3) by sqv.
UNVERIFIED = r"GPG error|OpenPGP signature verification failed|not signed"
#: sqv of Debian 13 and Ubuntu 26.04 on a key whose name only a SHA-1 signature binds.
BOUND_BY_SHA1 = re.compile(r"SHA1 is not considered secure")
SIMULATED = re.compile(r"^(Inst|Remv|Purg) (\S+)(?: \[(.*?)\])?(?: \((\S+))?", re.MULTILINE)
# apt-get counts packages left unconfigured by a failure or a power cut in a separate line.
NOTHING_DONE = re.compile(
    r"^0 upgraded, 0 newly installed(, 0 downgraded)?, 0 to remove.*\n(?!\d+ not fully installed)",
    re.M,
)
TAIL = 30  # lines of its standard output that a failure shows, before all of its standard error


class PackageChange(NamedTuple):
    """One line of a simulation: a package to install (its version before, if any) or remove."""

    action: str
    name: str
    before: str
    after: str


class LockWait:
    """The wait for other package managers, of `seconds` in all; it shows which one has a lock."""

    def __init__(self, host: ModuleHost, seconds: float) -> None:
        self._host = host
        self._seconds = seconds
        self._deadline = time.monotonic() + seconds
        self._shown: tuple[int, float] = (0, 0.0)

    @property
    def left(self) -> float:
        """How many seconds may pass yet."""
        return max(self._deadline - time.monotonic(), 0.0)

    def wait(self) -> None:
        """Return when no process has a lock. Raises ModuleFailure that names the process."""
        while True:
            holder = find_lock_holder(Tree(ROOT))
            if holder is None:
                return
            if not self.left:
                raise ModuleFailure(
                    f"{describe_holder(holder)} for {self._seconds:g} s: wait until it ends, or "
                    "end it, then run again"
                )
            self._show(holder)
            time.sleep(1)

    def _show(self, holder: LockHolder) -> None:
        pid, at = self._shown
        if pid != holder["pid"] or time.monotonic() - at >= SHOW_SECONDS:
            self._shown = (holder["pid"], time.monotonic())
            self._host.show(f"{describe_holder(holder)}: waiting, up to {self.left:.0f} s more")


def describe_holder(holder: LockHolder) -> str:
    """Return which process has which lock."""
    return f"{holder['program']} (process {holder['pid']}) has locked {holder['path']}"


def apt_get(host: ModuleHost, words: Sequence[str], lock_timeout: int) -> CommandResult:
    """Run apt-get with `words`; raises ModuleFailure that explains what went wrong."""
    wait = LockWait(host, lock_timeout)
    while True:
        wait.wait()
        # Without a terminal, dpkg does not draw its percentage a hundred times.
        options = ["-o", f"DPkg::Lock::Timeout={wait.left:.0f}", "-o", "Dpkg::Use-Pty=0"]
        command = ["apt-get", "-q", "-y", *options, *words]
        done = host.run(command, environment=ENVIRONMENT)
        # For the lock of its downloads apt-get does not wait.
        if done.rc == 0 or not LOCKED.search(done.stderr) or not wait.left:
            break
        time.sleep(1)
    if done.rc != 0:
        raise ModuleFailure(
            explain(done), rc=done.rc, stdout=done.stdout, stderr=done.stderr, cmd=command
        )
    return done


def simulate(host: ModuleHost, words: Sequence[str]) -> tuple[CommandResult, list[PackageChange]]:
    """Return what apt-get would do; needs no lock. Raises ModuleFailure as `apt_get` does."""
    command = ["apt-get", "-q", "-y", "-s", *words]
    done = host.run(command, environment=ENVIRONMENT)
    if done.rc != 0:
        raise ModuleFailure(
            explain(done), rc=done.rc, stdout=done.stdout, stderr=done.stderr, cmd=command
        )
    changes = [
        PackageChange("install" if action == "Inst" else "remove", name, before or "", after or "")
        for action, name, before, after in SIMULATED.findall(done.stdout)
    ]
    return done, changes


def run_dpkg(host: ModuleHost, command: Sequence[str], doing: str, **options: Any) -> CommandResult:
    """Run dpkg when no other package manager does. Raises ModuleFailure if it fails.

    A rig that was just demined may run its first automatic update.
    """
    done = _run_unlocked(host, command, **options)
    if done.rc != 0:
        raise ModuleFailure(
            f"{doing} failed (exit status {done.rc}): {_last_lines(done)}",
            rc=done.rc,
            stdout=done.stdout,
            stderr=done.stderr,
        )
    return done


def _run_unlocked(host: ModuleHost, command: Sequence[str], **options: Any) -> CommandResult:
    """Return the result of dpkg, run again while another package manager holds its lock."""
    deadline = time.monotonic() + DPKG_LOCK_SECONDS
    while True:
        done = host.run(command, **options)
        if not DPKG_LOCKED.search(done.stderr) or time.monotonic() >= deadline:
            return done
        time.sleep(1)


def finish_interrupted(host: ModuleHost) -> None:
    """Let dpkg finish what was cut off, else every apt-get refuses to start.

    A package that was cut off while it was unpacked can't be configured, only installed again; apt
    takes it for installed.
    """
    if dpkg.is_interrupted():
        command = ["dpkg", "--configure", "-a", "--force-confdef", "--force-confold"]
        done = _run_unlocked(host, command, environment=ENVIRONMENT)
        if done.rc != 0 and not _torn_packages(host):
            raise ModuleFailure(
                "dpkg was interrupted earlier, and finishing it (dpkg --configure -a) failed:\n"
                + _last_lines(done),
                rc=done.rc,
                stdout=done.stdout,
                stderr=done.stderr,
            )
        host.warnings.append("dpkg had been interrupted: ran dpkg --configure -a")
    torn = _torn_packages(host)
    if torn:
        command = ["dpkg", "--remove", "--force-remove-reinstreq", "--force-depends", *torn]
        run_dpkg(host, command, "clearing away what was torn while it was unpacked")
        words = ["--fix-broken", "install", "--allow-change-held-packages", *torn]
        words += ["-o", f"DPkg::Lock::Timeout={DPKG_LOCK_SECONDS}"]
        host.require(["apt-get", "-q", "-y", *words], "installing again", environment=ENVIRONMENT)
        host.warnings.append(f"installed again, as it was torn: {', '.join(torn)}")


def _torn_packages(host: ModuleHost) -> list[str]:
    packages = dpkg.database(host)
    every = (package for name in packages.names() for package in packages.find_all(name))
    return [package.name for package in every if package.is_torn]


def lists_time(host: ModuleHost) -> float:
    """Return when the package lists were last fetched, in Unix seconds; 0 for never."""
    tree = Tree(ROOT)
    _, lists = read_package_lists(tree, dpkg.database(host))
    return package_lists.find_update_time(tree, lists)


def lists_age(host: ModuleHost) -> float:
    """Return how many seconds ago the lists were fetched.

    Infinite where a list is missing or cut off, and where a source was changed since.
    """
    tree = Tree(ROOT)
    _, lists = read_package_lists(tree, dpkg.database(host))
    age = package_lists.find_age(tree, lists)
    patterns = [os.path.join(ROOT, source) for source in SOURCES]
    sources = [path for pattern in patterns for path in glob.glob(pattern)]
    fetched = package_lists.find_update_time(tree, lists)
    if age is None or any(_modification_time(path) > fetched for path in sources):
        return float("inf")
    return age


def update(host: ModuleHost, lock_timeout: int, retries: int, longest_delay: int) -> bool:
    """Fetch the package lists; True when they changed.

    apt-get reports a repository that is down only as a warning and goes on with old lists; here it
    is a failure that names it. Raises ModuleFailure after the last try.
    """
    before = _list_entries()
    _remove_torn_lists(host)
    wait = LockWait(host, lock_timeout)
    attempt = 0
    while True:
        wait.wait()
        done = host.run(["apt-get", "-q", "update"], environment=ENVIRONMENT)
        problems = update_problems(done)
        if not problems:
            break
        if LOCKED.search(done.stderr):
            if not wait.left:
                raise _update_failure(problems, done)
            time.sleep(1)
            continue
        attempt += 1
        if attempt >= max(retries, 1) or not _can_retry(done):
            raise _update_failure(problems, done)
        time.sleep(min(2 ** (attempt - 1), longest_delay))
    _note_update()
    return _list_entries() != before


def _remove_torn_lists(host: ModuleHost) -> None:
    """Remove lists that a power cut left in part: apt takes them for those of the server."""
    _, lists = read_package_lists(Tree(ROOT), dpkg.database(host))
    for suite in lists:
        paths = [suite.release, *suite.indexes] if suite.release and not suite.is_complete else []
        for path in paths:
            if os.path.exists(os.path.join(ROOT, path.lstrip("/"))):
                os.unlink(os.path.join(ROOT, path.lstrip("/")))


def _note_update() -> None:
    """Record that all lists were fetched now: the lists have the times of their servers."""
    stamp = os.path.join(ROOT, package_lists.STAMP.lstrip("/"))
    os.makedirs(os.path.dirname(stamp), exist_ok=True)
    with open(stamp, "a", encoding="ascii"):
        os.utime(stamp)


def update_problems(done: CommandResult) -> list[str]:
    """Return the lines of `apt-get update` that mean that a repository could not be used."""
    lines = [line.strip() for line in done.stderr.splitlines()]
    errors = [line for line in lines if line.startswith("E:")]
    warnings = [
        line
        for line in lines
        if line.startswith("W:") and re.search(rf"Failed to fetch|{UNVERIFIED}", line)
    ]
    if done.rc != 0 and not errors:
        errors = [done.stderr.strip() or f"apt-get update ended with exit status {done.rc}"]
    return warnings + errors


def explain(done: CommandResult) -> str:
    """Return why apt-get failed and what to do, then its own words."""
    text = f"{done.stdout}\n{done.stderr}"
    for pattern, reason in REASONS:
        match = re.search(pattern, text)
        if match:
            return reason.format(*match.groups()) + "\n" + _last_lines(done)
    return f"apt-get failed (exit status {done.rc}):\n{_last_lines(done)}"


def missing_package(error: ModuleFailure) -> bool:
    """Return whether a failure is about a package or version that no repository has."""
    text = str(error.result.get("stderr", ""))
    return bool(re.search(r"Unable to locate|no installation candidate|was not found", text))


REASONS = (
    (
        r"No space left on device|You don't have enough free space in (\S+?)\.",
        "the disk is full: make room (apt-get clean; journalctl --vacuum-size=100M), or enlarge "
        "the root partition",
    ),
    (
        r"dpkg: error processing (?:package|archive) (\S+)",
        "package {0} could not be installed: its own script or files failed",
    ),
    (
        r"Unable to locate package (\S+)",
        "package {0} is not in any configured repository: check its name, or add its repository "
        "and set update_cache: true",
    ),
    (
        r"Package '?(\S+?)'? has no installation candidate",
        "package {0} has no installation candidate: it is virtual (name one of its providers), or "
        "no configured repository has it",
    ),
    (
        r"Version '(\S+)' for '(\S+)' was not found",
        "package {1} has no version {0} in the configured repositories",
    ),
    (
        r"[Hh]eld packages were changed",
        "this would change a held package: release it with apt-mark unhold, or set "
        "allow_change_held_packages: true",
    ),
    (
        r"[Pp]ackages were downgraded",
        "this would install an older version than the present one: set allow_downgrade: true",
    ),
    (
        r"Packages need to be removed but remove is disabled",
        "this would remove packages, and fail_on_autoremove forbids it",
    ),
    (
        r"could(?:n't| not) be authenticated|packages cannot be authenticated",
        "a package's repository is not signed by a trusted key: install the key first",
    ),
    (
        r"Could not get lock (\S+?)[.,]?\s",
        "another package manager holds {0}: wait for it, or raise lock_timeout",
    ),
    (
        r"Failed to fetch (\S+)",
        "could not download {0}: check the rig's network and the repository",
    ),
    (r"have unmet dependencies", "these packages can't be installed together"),
)


def _update_failure(problems: list[str], done: CommandResult) -> ModuleFailure:
    reason = ""
    if BOUND_BY_SHA1.search(done.stderr):
        reason = (
            "; its key is bound to its name by SHA-1 alone, which apt of this release refuses: use "
            "the repository for this release, which is signed by another key"
        )
    return ModuleFailure(
        "a package repository could not be used; fix its address, key or network, or remove its "
        f"file from /etc/apt/sources.list.d{reason}:\n" + "\n".join(problems),
        rc=done.rc,
        stdout=done.stdout,
        stderr=done.stderr,
    )


def _can_retry(done: CommandResult) -> bool:
    """Return whether trying again can help: not with a wrong key, address or list of sources."""
    lasting = rf"{UNVERIFIED}|NO_PUBKEY|does not have a Release file|Malformed|404 +Not Found"
    return not re.search(lasting, done.stderr)


def _last_lines(done: CommandResult) -> str:
    lines = done.stdout.strip().splitlines()[-TAIL:] + done.stderr.strip().splitlines()
    return "\n".join(lines)


def _modification_time(path: str) -> float:
    try:
        return os.path.getmtime(path)
    except OSError:
        return 0


def _list_entries() -> dict[str, tuple[int, int]]:
    folder = os.path.join(ROOT, package_lists.FOLDER.lstrip("/"))
    try:
        files = [entry for entry in os.scandir(folder) if entry.is_file() and entry.name != "lock"]
    except OSError:
        return {}
    return {entry.name: (entry.stat().st_mtime_ns, entry.stat().st_size) for entry in files}

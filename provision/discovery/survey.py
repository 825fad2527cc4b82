"""Ask a rig's shell all questions at once, and read the answers with the rig's own fact code."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from provision.boundary.decode import BoundaryError, clean_texts
from provision.boundary.facts import GatheredFacts, RigFacts, check_rig_facts
from provision.boundary.text import clean, clean_line
from provision.discovery import summary
from provision.discovery.questions import MOST_BYTES, questions, scripts, texts
from provision.discovery.snapshot import Snapshot
from provision.errors import OtherSystemError
from provision.remote import dpkg
from provision.remote.facts import system
from provision.remote.facts.command_paths import NamedFile
from provision.remote.facts.commands import (
    MOST_SCRIPTS,
    NO_SCRIPTS,
    SCRIPT_DEPTH,
    files_named_by_script,
    files_named_in,
    script_text,
)
from provision.remote.facts.miners import find_miners
from provision.remote.facts.mining_signs import load_marks
from provision.remote.facts.network import Address
from provision.remote.facts.rig import rig
from provision.remote.facts.start_places import (
    BOOT_FILES,
    CRON_FILES,
    STARTER_SETTINGS,
    login_paths,
    paths,
    unit_files,
)
from provision.ssh.connection import RigConnection
from provision.ssh.shell import RootShell, Shell

AT_ONCE = 8  # channels of one connection: sshd's MaxSessions is 10


@dataclass(frozen=True)
class Survey:
    """What was seen. facts: `ansible_local.deeprig` as gathering would have it, and the base.

    as_root: whether everything could be read. tree: the files, until the look is closed.
    """

    name: str
    facts: RigFacts
    base: dict[str, Any]
    tree: Snapshot
    as_root: bool


@contextmanager
def take_survey(connection: RigConnection, password: str | None) -> Iterator[Survey]:
    """Yield a first look over a connection that is open. Raises LostError."""
    root = RootShell(connection, password)
    as_root = connection.user == "root" or root.run("true").status == 0
    shell = root if as_root else Shell(connection)
    answers = _ask(shell)
    _check_is_linux(str(connection.original_host), answers)
    with tempfile.TemporaryDirectory(prefix="deeprig-look-") as folder:
        tree = Snapshot(Path(folder), answers)
        _add_scripts(shell, tree)
        _add_texts(shell, tree)
        yield Survey(
            name=str(connection.original_host),
            facts=_read_facts(tree),
            base=clean_texts(system.distribution(tree)),
            tree=tree,
            as_root=as_root,
        )


def _read_facts(tree: Snapshot) -> RigFacts:
    """Return the rig's facts, by the rig's own code over files that it may have forged."""
    try:
        packages = dpkg.Database(tree.text("/var/lib/dpkg/status"))
        facts = rig(tree, packages, addresses(tree.text_of("addresses")))
    except (ValueError, LookupError, TypeError, AttributeError, OSError, RecursionError) as error:
        raise BoundaryError(
            f"the rig's files can't be read as facts: {clean_line(str(error))}",
            advice="Look at the rig's own console; if it was in other hands, reinstall it.",
        ) from None
    return check_rig_facts(facts)


def _add_scripts(shell: Shell, tree: Snapshot) -> None:
    """Add the scripts that units, crontabs and logins name, and those that they name."""
    sources = {*paths(tree, CRON_FILES), *paths(tree, BOOT_FILES), *login_paths(tree)}
    sources |= {*paths(tree, STARTER_SETTINGS), *(path for _, path in unit_files(tree))}
    named = {file for source in sources for file in files_named_in(tree, source)}
    asked: set[str] = set()
    for _ in range(SCRIPT_DEPTH):
        wanted = {
            file.path: file
            for file in sorted(named, key=_by_path)
            if file.path not in asked and not file.path.startswith(NO_SCRIPTS)
        }
        files = dict(list(wanted.items())[:MOST_SCRIPTS])
        if not files:
            return
        asked |= files.keys()
        run = [path for path, file in files.items() if file.is_run]
        for command in scripts(files.keys() - set(run), run):
            tree.unpack(shell.run(command, most=MOST_BYTES).out)
        named = {
            following
            for file in named
            if file.path in files
            for following in files_named_by_script(script_text(tree, file), file)
        }


def _add_texts(shell: Shell, tree: Snapshot) -> None:
    """Add what the rig finds in programs and settings that the facts ask about."""
    marks = load_marks()
    with suppress(ValueError, LookupError, TypeError, AttributeError, OSError, RecursionError):
        find_miners(tree, dpkg.Database(""))  # _read_facts reports these errors
    for kind, literals in (("settings", ()), ("programs", marks.program_texts)):
        wanted = sorted(tree.wanted[kind])[:MOST_SCRIPTS]
        if wanted:
            command = texts(wanted, marks.setting_texts, literals)
            tree.add_texts(wanted, shell.run(command, most=MOST_BYTES).out)


def _by_path(file: NamedFile) -> tuple[str, bool]:
    """Sort a named file before the same file that is run: the last of them counts."""
    return file.path, file.is_run


def ansible_facts(look: Survey) -> GatheredFacts:
    """Return the facts that playbooks use, by Ansible's names, as far as a survey has them."""
    facts = {
        **look.base,
        "architecture": look.tree.text_of("architecture").strip(),
        "kernel": look.facts["kernel"]["release"],
        "local": {"deeprig": look.facts},
    }
    return cast(GatheredFacts, {f"ansible_{name}": value for name, value in facts.items()})


def describe_rig(look: Survey) -> list[tuple[str, str]]:
    """Return the rig in a few lines, as `fab facts` has it."""
    return summary.summarize_facts(ansible_facts(look), summary.gpu_models())


def _ask(shell: Shell) -> dict[str, bytes]:
    asked = questions()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        done = pool.map(lambda command: shell.run(command, most=MOST_BYTES), asked.values())
        return {name: answer.out for name, answer in zip(asked, done, strict=True)}


def _check_is_linux(host: str, answers: Mapping[str, bytes]) -> None:
    """Raise OtherSystemError for a host that gives no file of a Linux kernel.

    Its commands may be others' (BusyBox, ESXi): what they leave out would look like an empty rig.
    """
    if b"==> /" in answers["kernel"] and b"\t" in answers["names"]:
        return
    advice = "Is this the rig, is its login shell a usual one, does it have coreutils and tar?"
    if b"==> /" in answers["kernel"]:
        raise OtherSystemError(
            f"{host} runs Linux, but its find is not that of GNU (BusyBox?), and lists nothing",
            advice=advice,
        )
    texts = (clean(answer.decode("utf-8", "replace")).strip() for answer in answers.values())
    words = next((text.splitlines()[0][:200] for text in texts if text), "nothing")
    raise OtherSystemError(
        f"{host} accepts the login, but does not answer as a Linux system: it wrote {words!r}",
        advice=advice,
    )


def addresses(text: str) -> list[Address]:
    """Return the addresses that `ip -o addr show` lists.

    >>> addresses("2: eth0    inet 10.0.0.5/24 brd 10.0.0.255 scope global eth0")
    [Address(interface='eth0', address='10.0.0.5', prefix=24, scope='global', ...)]
    """
    result = []
    for line in text.splitlines():
        match = re.match(r"\d+: (\S+)\s+inet6? (\S+?)(?: peer \S+)?(?:/(\d+))?(?= )", line)
        if not match:
            continue
        brd = re.search(r" brd (\S+)", line)
        scope = re.search(r" scope (\S+)", line)
        result.append(
            Address(
                interface=match.group(1),
                address=match.group(2),
                prefix=int(match.group(3) or 32),
                scope=scope.group(1) if scope else "global",
                broadcast=brd.group(1) if brd else "",
            )
        )
    return result

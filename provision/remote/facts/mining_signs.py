"""By what a miner is known, and how sure that makes us: several kinds of signs, names last.

A sign alone is weak: other software is called `miner`, computes on GPUs, or has an address in its
arguments. What has two of different kinds mines for sure; what has one is suspected.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, field
from typing import Any, Callable, Iterable

from provision.remote.facts.command_paths import BEFORE, OPERATORS, split_command
from provision.remote.facts.tables import table

#: Each alone is certainty. place: it is in the mining system's folder. pool: a pool's URL.
STRONG = frozenset({"place", "pool"})
#: What only miners have. name: a miner's. algorithm, arguments: of its command line. program: what
#: its file holds.
SPECIFIC = frozenset({"name", "algorithm", "arguments", "program"})
#: What other software has, too. word: a name that miners share with it. wallet, server, host (of a
#: pool's domain): in its command or settings. port: it is connected to a port of pools. gpu: it
#: computes on a GPU. Three of these are certainty; two with something specific, or a word, or where
#: a GPU works for a pool.
COMMON = frozenset({"word", "wallet", "server", "host", "port", "gpu"})
#: Signs of work for a pool: with a GPU that is in use they are certainty.
PAID = frozenset({"wallet", "host", "port"})
#: One of these alone is a reason to ask.
ASKED = frozenset({"name", "word", "gpu", "program"})
#: What a download adds to a program's name: its version, its processor, its system.
BUILD = re.compile(
    r"(?:[-_.]?v?\d+(?:[._]\d+)+[\w.+-]*|[-_](?:avx|sse|aes|zen|cuda|linux|static|x64|x86_64|amd64)"
    r"[\w.+-]*)?(?:\.exe)?$"
)
#: A word that is not a parent folder: /home/miner/notes does not name a miner.
WORD = re.compile(r"(?<![\w.+-])[A-Za-z0-9][\w.+-]*(?![\w.+/-])")
ASSIGNMENT = re.compile(r"(\w+)=(.*)")
#: Variables that hold a place, or the name of a person, and not a program.
PLACES = re.compile(r"\w*(PATH|DIR|FOLDER|HOME|USER|LOG|LOGS|FILE|GROUP|HOST|HOSTNAME)$", re.I)
#: Commands of a service manager that start nothing.
STOPS = re.compile(
    r"\bsystemctl\s+(?:--?\S+\s+)*(?:stop|disable|mask|status|show|kill|cat|is-\w+)\b"
    r"|\bservice\s+\S+\s+(?:stop|status)\b"
)
SESSIONS = re.compile(r"\bscreen(?:\s+-\w+)*\s+(\w+)\b|\btmux(?:\s+[\w-]+)*\s-\w*[st]\s+(\w+)\b")


MOST_ANSWERS = 2048  # of Marks about texts, which have up to 64 KiB


@dataclass(frozen=True)
class Marks:
    """By what a miner is known: miners.json, compiled. Where it has patterns, see there.

    folders: where the rig's mining system lives. setting_texts: for grep -E, too.
    """

    programs: frozenset[str]
    ambiguous: frozenset[str]
    harmless: frozenset[str]
    patterns: tuple[tuple[str, re.Pattern[str]], ...]
    setting_texts: str
    program_texts: tuple[str, ...]
    ports: frozenset[int]
    resetting: re.Pattern[str]
    watching: re.Pattern[str]
    folders: tuple[str, ...] = ()
    #: Answers about texts: many units run the same scripts, and a run reads them twice.
    _answers: dict[tuple[str, str], Any] = field(default_factory=dict, compare=False, repr=False)

    def is_miner(self, program: str) -> bool:
        """Return whether hardly anything but a miner has this name."""
        return shorten(program) in self.programs

    def is_ambiguous(self, program: str) -> bool:
        """Return whether a miner has this name, and other software as well."""
        return shorten(program) in self.ambiguous

    def holds(self, path: str) -> bool:
        """Return whether a file belongs to the rig's mining system."""
        return any(path == place or path.startswith(f"{place}/") for place in self.folders)

    def find_places(self, text: str) -> list[str]:
        """Return the folders of the mining system that a text names."""
        return [place for place in self.folders if names_path(text, place)]

    def resets(self, text: str) -> bool:
        """Return whether a script can reset the machine."""
        return self.resetting.search(text) is not None

    def watches(self, text: str) -> bool:
        """Return whether a script looks at whether the machine works."""
        return self.watching.search(text) is not None

    def sign_of_name(self, name: str) -> frozenset[str]:
        """Return the sign that a program's name is, if any."""
        if self.is_miner(name):
            return frozenset({"name"})
        return frozenset({"word"} if self.is_ambiguous(name) else ())

    def find_names(self, text: str) -> dict[str, str]:
        """Return the programs of miners that a text runs, each with the sign that its name is.

        A command that only handles files of such a name, or ends a program, runs none.
        """
        names: dict[str, str] = self._remember("names", text, self._find_names)
        return dict(names)

    def _remember(self, kind: str, text: str, find: Callable[[str], Any]) -> Any:
        """Return what was found in a text, or find it."""
        key = (kind, text)
        if key not in self._answers:
            if len(self._answers) >= MOST_ANSWERS:
                self._answers.clear()
            self._answers[key] = find(text)
        return self._answers[key]

    def _find_names(self, text: str) -> dict[str, str]:
        names: dict[str, str] = {}
        for command in OPERATORS.split(text):
            words = split_command(command)
            for value in _values_before(command):
                self._add_names(names, value, value)
            if words and not self._is_harmless(words):
                self._add_names(names, " ".join(words), words[0])
        return names

    def leave_out_harmless(self, text: str) -> str:
        """Return a text's commands without those that only handle files or end programs."""
        left: str = self._remember("left", text, self._leave_out_harmless)
        return left

    def _leave_out_harmless(self, text: str) -> str:
        commands = OPERATORS.split(text)
        return "\n".join(
            command
            for command in commands
            if not ((words := split_command(command)) and self._is_harmless(words))
        )

    def _is_harmless(self, words: list[str]) -> bool:
        program = words[0].rpartition("/")[2]
        return program in self.harmless or STOPS.search(" ".join(words)) is not None

    def _add_names(self, names: dict[str, str], text: str, program: str) -> None:
        for word in WORD.findall(text):
            if self.is_miner(word):
                names[word] = "name"
        last = program.rpartition("/")[2]
        if self.is_ambiguous(last):
            names.setdefault(last, "word")
        for match in SESSIONS.finditer(text):
            session = match.group(1) or match.group(2)
            if self.is_ambiguous(session):
                names.setdefault(match.group(0), "word")

    def find_signs(self, text: str) -> frozenset[str]:
        """Return what a command or script has that miners have, its names aside."""
        signs: frozenset[str] = self._remember("signs", text, self._find_signs)
        return signs

    def _find_signs(self, text: str) -> frozenset[str]:
        return frozenset(kind for kind, pattern in self.patterns if pattern.search(text))


@functools.lru_cache(maxsize=None)
def load_marks(folders: tuple[str, ...] = ()) -> Marks:
    """Return the marks of miners.json. folders: where the rig's mining system lives."""
    lists: dict[str, Any] = table("miners.json")
    hosts = "|".join(map(re.escape, lists["pool_hosts"]))
    algorithms = "|".join(lists["algorithms"])
    setting = f'"?(algo|algorithm|coin)"? *[:=] *"?({algorithms})'
    patterns = {
        "pool": lists["pool_urls"],
        "arguments": lists["arguments"],
        "wallet": lists["wallet"],
        "server": lists["server"],
        "host": rf"(?<![\w-])(?:{hosts})(?![\w-]|\.\w)",
        "algorithm": rf"(?:^|\s)--?(?:a|algo\w*|coin|uri)[ =]+(?:{algorithms})(?![\w-])|{setting}",
    }
    return Marks(
        programs=frozenset(lists["programs"]),
        ambiguous=frozenset(lists["ambiguous_programs"]),
        harmless=frozenset(lists["harmless_commands"]),
        patterns=tuple(
            (kind, re.compile(pattern, re.IGNORECASE if kind in ("host", "algorithm") else 0))
            for kind, pattern in patterns.items()
        ),
        setting_texts="|".join((*lists["setting_texts"], f"({hosts})", setting)),
        program_texts=tuple(lists["program_texts"]),
        ports=frozenset(lists["pool_ports"]),
        resetting=re.compile(lists["resets"]),
        watching=re.compile(lists["watches"]),
        folders=folders,
    )


def judge_signs(signs: Iterable[str]) -> str:
    """Return how sure it is that something with these signs mines: `sure`, `suspected` or ``.

    cpu (it keeps a core busy) confirms what only miners have; start (it starts by itself, and no
    package of the distribution has it) confirms a miner's name.

    >>> judge_signs({"name", "gpu"}), judge_signs({"word", "start"}), judge_signs({"cpu"})
    ('sure', 'suspected', '')
    >>> judge_signs({"gpu", "port"}), judge_signs({"gpu", "server"}), judge_signs({"gpu"})
    ('sure', 'suspected', 'suspected')
    """
    kinds = set(signs)
    if kinds & STRONG:
        return "sure"
    if "server" in kinds:
        kinds.discard("port")  # the same connection, twice
    specific = kinds & SPECIFIC
    points = len(specific) + len(kinds & COMMON)
    points += "cpu" in kinds and bool(specific or kinds & PAID)
    points += "start" in kinds and "name" in kinds
    if points >= (2 if specific or "word" in kinds or {"gpu"} < kinds & {"gpu", *PAID} else 3):
        return "sure"
    return "suspected" if kinds & ASKED or (points >= 2 and kinds & PAID) else ""


def shorten(program: str) -> str:
    """Return a program's name in lower case without its version and build.

    >>> shorten("lolMiner_v1.88_Lin64")
    'lolminer'
    """
    return BUILD.sub("", program.lower())


def names_path(text: str, path: str) -> bool:
    """Return whether a text names a path, or one below it."""
    return re.search(rf"(?<![\w.-]){re.escape(path)}(?![\w.-])", text) is not None


def _values_before(command: str) -> list[str]:
    """Return the values that a command line assigns before its program, places left out."""
    values = []
    for word in command.split():
        match = ASSIGNMENT.fullmatch(word)
        if match and not PLACES.fullmatch(match.group(1)):
            values.append(match.group(2).strip("\"'"))
        elif not BEFORE.fullmatch(word):
            break
    return values

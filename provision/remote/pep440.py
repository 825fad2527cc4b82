"""Versions of Python packages and what a requirement asks of them: the part of PEP 440 in use."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

VERSION = re.compile(
    r"""\s*v?(?:(?P<epoch>\d+)!)?(?P<release>\d+(?:\.\d+)*)
    (?:[-_.]?(?P<pre>a|b|c|rc|alpha|beta|pre|preview)[-_.]?(?P<pre_number>\d*))?
    (?P<post>-(?P<post_bare>\d+)|[-_.]?(?:post|rev|r)[-_.]?(?P<post_number>\d*))?
    (?P<dev>[-_.]?dev[-_.]?(?P<dev_number>\d*))?
    (?:\+(?P<local>[a-z0-9]+(?:[-_.][a-z0-9]+)*))?\s*""",
    re.VERBOSE | re.IGNORECASE,
)
CLAUSE = re.compile(r"(===|==|!=|<=|>=|~=|<|>)\s*([^\s,;]+)")
PRE = {"alpha": "a", "beta": "b", "c": "rc", "pre": "rc", "preview": "rc"}
REQUIREMENT = re.compile(
    r"(?P<name>[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?)\s*(?P<extras>\[[^\]]*\])?\s*"
    r"(?P<clauses>\(?(?:(?:===|==|!=|<=|>=|~=|<|>)[^;]*)?\)?)\s*(?P<marker>;.*)?"
)
LEAST, MOST = -1, 1 << 62


class Requirement(NamedTuple):
    """A package by its normalized name, and the clauses that its version must satisfy."""

    name: str
    clauses: tuple[tuple[str, str], ...]
    marker: str

    def satisfied_by(self, version: str) -> bool:
        """Whether a version fits every clause."""
        return all(fits(version, operator, wanted) for operator, wanted in self.clauses)


def normalized(name: str) -> str:
    """The one spelling of a package's name: Foo.Bar_baz is foo-bar-baz."""
    return re.sub(r"[-_.]+", "-", name).lower()


def requirement(text: str) -> Requirement | None:
    """A requirement, or None for what is not a name with clauses (an address, a path)."""
    match = REQUIREMENT.fullmatch(text.strip())
    if not match:
        return None
    clauses = tuple(CLAUSE.findall(match.group("clauses").strip("()")))
    return Requirement(normalized(match.group("name")), clauses, match.group("marker") or "")


def key(version: str, local: bool = True) -> tuple[Any, ...]:
    """What versions are ordered by; raises ValueError for what is not one."""
    match = VERSION.fullmatch(version)
    if not match:
        raise ValueError(f"not a version: {version}")
    release = [int(part) for part in match.group("release").split(".")]
    while len(release) > 1 and release[-1] == 0:
        release.pop()
    pre, post, dev = match.group("pre"), match.group("post"), match.group("dev")
    if pre:
        letter = pre.lower()
        before: tuple[Any, ...] = (PRE.get(letter, letter), int(match.group("pre_number") or 0))
    else:
        before = ("", 0) if dev and not post else ("z", 0)
    after = int(match.group("post_bare") or match.group("post_number") or 0) if post else LEAST
    development = int(match.group("dev_number") or 0) if dev else MOST
    parts: tuple[Any, ...] = ()
    if local and match.group("local"):
        words = re.split(r"[-_.]", match.group("local").lower())
        parts = tuple((1, int(w), "") if w.isdigit() else (0, 0, w) for w in words)
    return int(match.group("epoch") or 0), tuple(release), before, after, development, parts


def fits(version: str, operator: str, wanted: str) -> bool:
    """Whether a version satisfies one clause; a local part counts only if the clause has one."""
    if operator == "===":
        return version.strip().lower() == wanted.strip().lower()
    try:
        if wanted.endswith(".*"):
            return _starts_with(version, wanted[:-2]) == (operator == "==")
        local = "+" in wanted and operator in ("==", "!=")
        have, want = key(version, local), key(wanted, local)
    except ValueError:
        return False
    if operator == "~=":
        prefix = re.sub(r"\.\d+[^.]*$", "", re.split(r"[abcr+-]|\.?(?:post|dev)", wanted)[0])
        return have >= want and _starts_with(version, prefix)
    if operator == "<":
        # 2.0rc1 is older than 2.0 and yet not what `<2.0` means.
        final = not _is_pre(want) and want[3] == LEAST
        of_final = have[:2] == want[:2] and final and _is_pre(have)
        return have < want and not of_final and have[:4] != want[:4]
    if operator == ">":
        return have > want and not (have[:3] == want[:3] and have[3] > want[3] == LEAST)
    answers = {"==": have == want, "!=": have != want, "<=": have <= want, ">=": have >= want}
    return answers[operator]


def _starts_with(version: str, prefix: str) -> bool:
    match, wanted = VERSION.fullmatch(version), VERSION.fullmatch(prefix)
    if not match or not wanted:
        return False
    release = [int(part) for part in match.group("release").split(".")]
    parts = [int(part) for part in wanted.group("release").split(".")]
    release += [0] * (len(parts) - len(release))
    same_epoch = (match.group("epoch") or "0") == (wanted.group("epoch") or "0")
    return same_epoch and release[: len(parts)] == parts


def _is_pre(version: tuple[Any, ...]) -> bool:
    return bool(version[2][0] != "z" or version[4] != MOST)

"""apt's package sources, in both formats, as apt reads them.

Source: sources.list(5); apt-pkg/sourcelist.cc and apt-pkg/contrib/fileutl.cc for what is a source
file, apt-pkg/deb/debmetaindex.cc for the options.
"""

from __future__ import annotations

import hashlib
import re
from typing import Iterator, NamedTuple

from provision.remote.facts.tree import Tree

MAIN_FILE = "/etc/apt/sources.list"
FOLDER = "/etc/apt/sources.list.d"
#: Names of other files in the folder are ignored: copies of editors and of release upgrades.
SOURCE_NAME = re.compile(r"[A-Za-z0-9_:-][A-Za-z0-9_.:-]*\.(?:list|sources)")
#: A word of a line: what is in brackets or quotes belongs to it, with its blanks.
WORD = re.compile(r'(?:\[[^\]]*\]|"[^"]*"|[^\s\["])+')
OPTION = re.compile(r"([A-Za-z-]+)([+-]?=)(\S+)")
OFF = ("no", "false", "without", "off", "disable", "0")
#: Options of a line, by the names of the same fields of a stanza.
FIELDS = {"arch": "architectures", "lang": "languages", "target": "targets"}
PLACE = ("types", "uris", "suites", "components", "enabled")


class SourceEntry(NamedTuple):
    """A line or a stanza: every type, URI, suite and component of it belongs together.

    uris: without logins. signed_by: paths or fingerprints as they are written; `embedded key HASH`
    for a key in the file. options: the other fields, by their lower-case
    names.
    """

    file: str
    line: int
    enabled: bool
    types: list[str]
    uris: list[str]
    suites: list[str]
    components: list[str]
    options: dict[str, str]
    signed_by: str


def read_sources(tree: Tree) -> list[SourceEntry]:
    """Return all sources, in the order in which apt reads them."""
    sources = [*parse_lines(tree.text(MAIN_FILE), MAIN_FILE)]
    for name in tree.names(FOLDER):
        path = f"{FOLDER}/{name}"
        if SOURCE_NAME.fullmatch(name) and tree.is_file(path):
            parse = parse_stanzas if name.endswith(".sources") else parse_lines
            sources += parse(tree.text(path), path)
    return sources


def parse_lines(text: str, file: str) -> Iterator[SourceEntry]:
    """Yield the sources of a .list file; what apt would refuse is left out."""
    for number, line in enumerate(text.splitlines(), 1):
        words = WORD.findall(_without_comment(line))
        if not words or words[0] not in ("deb", "deb-src"):
            continue
        kind, rest, options = words[0], words[1:], {}
        # `deb [arch=amd64] URI`, and `deb cdrom:[Debian 12]/ bookworm` without any option.
        if rest and rest[0].startswith("["):
            options = _options(rest[0].strip("[]"))
            rest = rest[1:]
        if len(rest) < 2:
            continue
        uri, suite, *components = (word.replace('"', "") for word in rest)
        signed_by = options.pop("signed-by", "")
        uris = [_without_login(uri)]
        yield SourceEntry(file, number, True, [kind], uris, [suite], components, options, signed_by)


def parse_stanzas(text: str, file: str) -> Iterator[SourceEntry]:
    """Yield the sources of a .sources file (deb822); what apt would refuse is left out."""
    for number, fields in parse_paragraphs(text):
        types, uris, suites = (fields.get(name, "").split() for name in PLACE[:3])
        if not (types and uris and suites):
            continue
        yield SourceEntry(
            file,
            number,
            fields.get("enabled", "yes").strip().lower() not in OFF,
            types,
            [_without_login(uri) for uri in uris],
            suites,
            fields.get("components", "").split(),
            {
                name: " ".join(value.split())
                for name, value in fields.items()
                if name not in (*PLACE, "signed-by") and not name.startswith("x-")
            },
            _signed_by(fields.get("signed-by", "")),
        )


def parse_paragraphs(text: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield each stanza's first line and its fields by their lower-case names."""
    fields: dict[str, str] = {}
    start, name = 0, ""
    for number, line in enumerate([*text.splitlines(), ""], 1):
        if line.startswith("#"):
            continue
        if not line.strip():
            if fields:
                yield start, fields
            fields, start, name = {}, 0, ""
        elif line[0] in " \t":
            if name:
                fields[name] += f"\n{line.strip()}"
        else:
            name, _, value = line.partition(":")
            name = name.strip().lower()
            fields[name] = value.strip()
            start = start or number


def normalize_uri(uri: str) -> str:
    """Return a URI in the form in which two of the same repository are equal.

    >>> normalize_uri("HTTPS://Example.org/debian/")
    'https://example.org/debian'
    """
    match = re.match(r"([A-Za-z+-]+:)(//[^/]*)?(.*)$", uri, re.DOTALL)
    if not match:
        return uri
    scheme, place, path = match.groups("")
    host = f"//{_host(place)}" if place else ""
    return f"{scheme.lower()}{host}{path.rstrip('/')}"


def host_of(uri: str) -> str:
    """Return the host that a URI names, in lower case; empty for files and discs."""
    match = re.match(r"[A-Za-z+-]+:(//[^/]*)", uri)
    return _host(match.group(1)).partition(":")[0] if match else ""


def _without_login(uri: str) -> str:
    """Return a URI without the user and password in it: they belong to the rig's owner."""
    return re.sub(r"^([A-Za-z+-]+://)[^/@]*@", r"\1", uri)


def _host(place: str) -> str:
    return place[2:].rpartition("@")[2].lower()


def _without_comment(line: str) -> str:
    """Return a line up to its comment; a number sign in brackets does not begin one."""
    match = re.match(r"(?:\[[^\]]*\]|[^#])*", line)
    return match.group(0) if match else ""


def _options(text: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for name, _, value in OPTION.findall(text):
        name = FIELDS.get(name.lower(), name.lower())
        options[name] = " ".join(value.replace(",", " ").split())
    return options


def _signed_by(value: str) -> str:
    if "BEGIN PGP" in value:
        digest = hashlib.sha256("".join(value.split()).encode()).hexdigest()
        return f"embedded key {digest[:16]}"
    return " ".join(value.replace(",", " ").split())

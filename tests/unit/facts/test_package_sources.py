"""apt's sources as apt reads them: the machine's own apt names the lists that it would fetch."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from provision.remote.facts.package_lists import escape_uri, release_uri
from provision.remote.facts.package_sources import (
    SourceEntry,
    host_of,
    normalize_uri,
    parse_lines,
    parse_stanzas,
    read_sources,
)
from provision.remote.facts.tree import Tree
from tests.unit.modules.rig import create_files

LINES = """\
# deb http://commented.example/debian bookworm main
deb [ arch=amd64 signed-by=/usr/share/keyrings/x.gpg ] https://u:p@x.example:8080/de_b~/ a main b #c
deb cdrom:[Debian GNU/Linux 12.1.0 _Bookworm_ - Official #1]/ bookworm main
deb-src http://src.example/debian bookworm main
deb [trusted=yes] file:/usr/share/kernel-packages ./
deb mirror+file:/etc/apt/mirrors/debian.list bookworm main non-free/extra
deb\thttp://[fe80::1]:3142/deb.example/debian\tbookworm\tmain
deb http://$(ARCH).example/a^b{c} flat-$(ARCH)/
"""
STANZAS = """\
# A comment before the first field.
Types: deb deb-src
URIs: http://a.example/ http://b.example/debian
# and one between the lines of a field
 http://c.example
Suites: bookworm
 bookworm-updates
Components: main contrib
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mDMEXEMPLE
 -----END PGP PUBLIC KEY BLOCK-----


types: deb
uris: https://flat.example/compute/x86_64/
suites: /
Enabled: no

Types: deb
URIs: https://flat.example/compute/x86_64
Suites: /
Signed-By: /usr/share/keyrings/a.gpg, /usr/share/keyrings/b.gpg
Architectures: amd64
"""


def apt_lists(root: Path) -> set[str]:
    """Return the names of the Packages files of amd64 that apt-get would fetch for this tree."""
    (root / "lists/partial").mkdir(parents=True)
    settings = {
        "Dir::Etc::sourcelist": root / "etc/apt/sources.list",
        "Dir::Etc::sourceparts": root / "etc/apt/sources.list.d",
        "Dir::State::lists": root / "lists",
        "APT::Architecture": "amd64",
        "APT::Architectures": "amd64",
        "Acquire::Languages": "none",
    }
    words = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
    done = subprocess.run(
        ["apt-get", "update", "--print-uris", *words], capture_output=True, text=True, check=True
    )
    names = {line.split()[-2] for line in done.stdout.splitlines()}
    return {name for name in names if name.endswith("Packages") and "binary-all" not in name}


def our_lists(sources: list[SourceEntry]) -> set[str]:
    """Return the same from the sources that were read."""
    names = set()
    for source in sources:
        if not source.enabled or "deb" not in source.types:
            continue
        for uri in (uri.replace("$(ARCH)", "amd64") for uri in source.uris):
            for suite in source.suites:
                if suite.endswith("/"):
                    suite = suite.replace("$(ARCH)", "amd64")
                    names.add(f"{escape_uri(release_uri(uri, suite))}Packages")
                for component in source.components:
                    index = f"{component}/binary-amd64/Packages"
                    names.add(escape_uri(f"{release_uri(uri, suite)}{index}"))
    return names


def test_sources_are_those_that_apt_reads(tmp_path: Path) -> None:
    disc = [line for line in LINES.splitlines(keepends=True) if "cdrom" not in line]
    create_files(
        tmp_path,
        {
            "etc/apt/sources.list": "deb http://main.example/debian bookworm main\n",
            "etc/apt/sources.list.d/lines.list": "".join(disc),
            "etc/apt/sources.list.d/stanzas.sources": STANZAS,
            "etc/apt/sources.list.d/old.list.save": "deb http://save.example/ x y\n",
            "etc/apt/sources.list.d/old.list.distUpgrade": "deb http://upgrade.example/ x y\n",
            "etc/apt/sources.list.d/a b.list": "deb http://blank.example/ x y\n",
            "etc/apt/sources.list.d/.hidden.list": "deb http://hidden.example/ x y\n",
            "etc/apt/sources.list.d/other.source": STANZAS,
            "etc/apt/sources.list.d/a:b-c_d.list": "deb http://colon.example/ x/\n",
        },
    )
    names = our_lists(read_sources(Tree(str(tmp_path))))
    assert names == apt_lists(tmp_path)
    assert len(names) == 22


def test_options_of_a_line() -> None:
    first, disc, *_ = parse_lines(LINES, "/etc/apt/sources.list")
    assert first == SourceEntry(
        file="/etc/apt/sources.list",
        line=2,
        enabled=True,
        types=["deb"],
        uris=["https://x.example:8080/de_b~/"],  # without the login
        suites=["a"],
        components=["main", "b"],
        options={"architectures": "amd64"},
        signed_by="/usr/share/keyrings/x.gpg",
    )
    assert disc.uris == ["cdrom:[Debian GNU/Linux 12.1.0 _Bookworm_ - Official #1]/"]
    assert disc.suites == ["bookworm"]


def test_fields_of_a_stanza() -> None:
    first, off, last = parse_stanzas(STANZAS, "/x.sources")
    assert (first.line, off.line, last.line) == (2, 16, 21)
    assert first.uris == ["http://a.example/", "http://b.example/debian", "http://c.example"]
    assert first.suites == ["bookworm", "bookworm-updates"]
    assert first.signed_by.startswith("embedded key ")
    assert not off.enabled
    assert last.enabled
    assert last.signed_by == "/usr/share/keyrings/a.gpg /usr/share/keyrings/b.gpg"
    assert last.options == {"architectures": "amd64"}
    other = STANZAS.replace("mDMEXEMPLE", "mDMEANOTHER")
    assert next(parse_stanzas(other, "/x.sources")).signed_by != first.signed_by


@pytest.mark.parametrize(
    "text", ["", "deb", "deb http://x", "deb [", "rpm http://x y", "\0", "deb []"]
)
def test_lines_that_are_not_sources(text: str) -> None:
    assert list(parse_lines(text, "/x")) == []


@pytest.mark.parametrize("text", ["", "Types: deb", "Types: deb\nURIs: x", " a\n b\n", "x\n\n:\n"])
def test_stanzas_that_are_not_sources(text: str) -> None:
    assert list(parse_stanzas(text, "/x")) == []


def test_uris_of_one_repository_are_equal() -> None:
    assert normalize_uri("HTTPS://me:pw@X.Example/Debian/") == "https://x.example/Debian"
    assert normalize_uri("file:/srv/debs/") == "file:/srv/debs"
    assert host_of("http://me:pw@X.example:80/a@b") == "x.example"
    assert host_of("cdrom:[a]/") == ""

"""Nothing that a rig says moves the operator's cursor."""

from __future__ import annotations

from pathlib import Path

import pytest

from provision.assess.finding import Finding
from provision.look.snapshot import Snapshot
from provision.plain import plain
from provision.redact import Redactor

EVIL = "key \x1b[2J\x1b]0;pwn\x07\x1b[31mred\x1b[0m \x9b5n\x08\x7fend"
HARMLESS = "key red 5nend"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (EVIL, HARMLESS),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1bPq#0\x1b\\sixel", "sixel"),
        ("\x1b]0;never ended", ""),
        ("tab\tline\r\nnul\0 ü — 😀", "tab\tline\r\nnul\0 ü — 😀"),
    ],
)
def test_what_a_terminal_would_obey_is_gone(text: str, wanted: str) -> None:
    assert plain(text) == wanted
    assert "\x1b" not in plain(f"\x1b{text}\x1b")


def test_every_way_to_the_screen_is_clean(tmp_path: Path) -> None:
    found = Finding("keys", EVIL, "warning", EVIL)
    assert (found.subject, found.reading) == (HARMLESS, HARMLESS)
    assert Redactor().value({"msg": [EVIL]}) == {"msg": [HARMLESS]}
    (tmp_path / "file").write_text(EVIL)
    seen = Snapshot(tmp_path, {"messages": EVIL.encode("utf-8")})
    assert (seen.text("/file"), seen.text_of("messages")) == (HARMLESS, HARMLESS)

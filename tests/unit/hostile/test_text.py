"""Text of a rig cannot control the operator's terminal or become markup of a page."""

from __future__ import annotations

import ast
import io
from pathlib import Path

import pytest
from rich.table import Table

from provision.assess.finding import Finding
from provision.boundary.text import clean, clean_line, escape_markdown
from provision.discovery.snapshot import Snapshot
from provision.output.html import render_page
from provision.output.redaction import Redactor
from provision.output.terminal import Terminal

EVIL = "key \x1b[2J\x1b]0;pwn\x07\x1b[31mred\x1b[0m \x9b5n\x08\x7fend"
HARMLESS = "key red 5nend"
ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (EVIL, HARMLESS),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1bPq#0\x1b\\sixel", "sixel"),
        ("\x1b]0;never ended", ""),
        ("\x1b]0;hidden\nshown", "\nshown"),
        ("\x1b(0charset\x1bc\x1b7", "charset"),
        ("\x1b\x1b[31m[2J", "[2J"),
        ("ok\rfailed", "okfailed"),
        ("abc\u202ecba\u2066x\u2069\u200f\u061c", "abccbax"),
        ("in\u200bvisible\ufeff\U000e0041", "invisible"),
        ("one\u2028two\u2029three", "onetwothree"),
        ("half \ud800 pair", "half ? pair"),
        ("tab\tline\r\nnul\0 ü — 😀", "tab\tline\nnul ü — 😀"),
    ],
)
def test_control_sequences_are_removed(text: str, wanted: str) -> None:
    assert clean(text) == wanted
    assert "\x1b" not in clean(f"\x1b{text}\x1b")


def test_nul_is_kept_as_a_separator() -> None:
    assert clean("a\0\x1b[2Jb\x01", keep="\0") == "a\0b"


def test_value_is_reduced_to_one_line() -> None:
    assert clean_line("eth0\n\n\tattic : ok=1") == "eth0 attic : ok=1"


def test_all_texts_for_the_screen_are_cleaned(tmp_path: Path) -> None:
    finding = Finding("keys", EVIL, "warning", EVIL)
    assert (finding.subject, finding.reading) == (HARMLESS, HARMLESS)
    assert Redactor().value({"msg": [EVIL]}) == {"msg": [HARMLESS]}
    (tmp_path / "file").write_text(EVIL)
    seen = Snapshot(tmp_path, {"messages": EVIL.encode("utf-8")})
    assert (seen.text("/file"), seen.text_of("messages")) == (HARMLESS, HARMLESS)


def test_terminal_prints_only_its_own_control_sequences() -> None:
    stream = io.StringIO()
    terminal = Terminal(stream, force_terminal=True, width=80, color_system=None)
    table = Table("head \x1b[5m", EVIL)
    table.add_row(EVIL, "cell\u202e")
    terminal.print(EVIL, "[bold]")
    terminal.print(table)
    terminal.rule(EVIL)
    assert "\x1b" not in stream.getvalue()
    assert "\u202e" not in stream.getvalue()
    assert stream.getvalue().startswith(f"{HARMLESS} [bold]")
    with terminal.status(EVIL):
        pass
    assert "\x1b]" not in stream.getvalue()
    assert "[2J" not in stream.getvalue()


def test_unencodable_characters_are_replaced() -> None:
    raw = io.BytesIO()
    terminal = Terminal(io.TextIOWrapper(raw, encoding="ascii"))
    terminal.print("ü\x1b[2J")
    terminal.file.flush()
    assert raw.getvalue() == b"?\n"


def test_provision_uses_only_its_own_terminal_class() -> None:
    """rich's Console would print a rig's text unchanged."""
    for path in [*(ROOT / "provision").rglob("*.py"), ROOT / "fabfile.py"]:
        if path.name == "terminal.py" or "remote" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id != "Console", f"{path}:{node.lineno}"


@pytest.mark.parametrize("ending", [".md.j2", ".html.j2"])
def test_pages_escape_markup(ending: str, tmp_path: Path) -> None:
    template = tmp_path / f"page{ending}"
    template.write_text("name: {{ name }}; list: {{ names | join(', ') }}\n")
    evil = "<script>alert(1)</script>\x1b[2J\u202e [x](javascript:1)\n# heading"
    page = render_page(template, name=evil, names=[evil])
    assert "<script" not in page
    assert "\x1b" not in page
    assert "\u202e" not in page
    if ending == ".md.j2":
        assert "](" not in page.replace("\\]", "")
        assert "\n#" not in page


def test_markdown_is_escaped() -> None:
    assert escape_markdown("a_b _c_ *d* `x` | &") == r"a_b \_c\_ \*d\* \`x\` \| &amp;"

"""Text of a rig, made harmless for what shows it: a terminal, a log, Markdown, HTML.

A rig may send sequences that move the cursor, overwrite earlier lines, set the window's title or
answer as if the operator had typed, and characters that turn the direction of a line around.
"""

from __future__ import annotations

import re

#: ECMA-48: control sequences (CSI), strings (OSC, DCS, APC, PM, SOS) up to their end or the end of
#: the line, other escape sequences. Then what is left of C0 (but tab, newline and NUL), DEL and C1;
#: Unicode's line and paragraph separators, bidirectional and invisible formatting, and tags.
_CONTROL = re.compile(
    "\x1b\\[[0-?]*[ -/]*[@-~]"
    "|\x1b[\\]P_^X][^\x07\x1b\n]*(?:\x07|\x1b\\\\)?"
    "|\x1b[ -/]*[0-~]"
    "|[\x01-\x08\x0b-\x1f\x7f-\x9f"
    "\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e0fff]"
)
_SURROGATE = re.compile("[\ud800-\udfff]")  # half a pair, which no encoding can write
_LINE_END = re.compile(r"[\t\n]+")
#: Markup of CommonMark and its common extensions; an underscore within a word is none.
_MARKDOWN = re.compile(r"([\\`*\[\]|~#]|(?<!\w)_|_(?!\w))")


def clean(text: str, keep: str = "") -> str:
    """Return the text without what a terminal would obey or a reader could not see.

    Tabs and newlines stay; so does NUL, which /proc puts between words, with keep="\\0".

    >>> clean("a\\x1b[2J\\x1b]0;title\\x07b\\tc\\u202ed\\r\\n")
    'ab\\tcd\\n'
    """
    if text.isascii() and text.isprintable():
        return text
    text = _SURROGATE.sub("?", _CONTROL.sub("", text))
    return text if "\0" in keep else text.replace("\0", "")


def clean_line(text: str) -> str:
    """Return the text cleaned and in one line: a value can't pass for a line of ours.

    >>> clean_line("eth0\\nattic: ok")
    'eth0 attic: ok'
    """
    return _LINE_END.sub(" ", clean(text))


def escape_markdown(text: str) -> str:
    """Return one line of text that Markdown shows as it is, without markup or HTML.

    >>> escape_markdown("<img src=x> *a*")
    '&lt;img src=x&gt; \\\\*a\\\\*'
    """
    text = clean_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKDOWN.sub(r"\\\1", text)

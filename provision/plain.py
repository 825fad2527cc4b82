"""Text of a rig, made harmless for a terminal: a rig is not trusted, and may be somebody else's."""

from __future__ import annotations

import re

#: Sequences that move the cursor, set titles or colours (ECMA-48), then control characters that are
#: left. A tab and ends of lines stay, and so does NUL, which /proc puts between words.
_CONTROL = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"
    r"|\x1b[\]P_^X][^\x07\x1b]*(?:\x07|\x1b\\)?"
    r"|[\x01-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]"
)


def plain(text: str) -> str:
    """The text without what a terminal would obey.

    >>> plain("a\\x1b[2J\\x1b]0;title\\x07b\\tc")
    'ab\\tc'
    """
    return _CONTROL.sub("", text)

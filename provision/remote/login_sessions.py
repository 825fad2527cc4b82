"""Lines of login files and of PAM that wait for, or need, what a mining system had.

The marks keep a file valid: in a shell script `:` fills a block that would be empty otherwise.
"""

from __future__ import annotations

import re
from typing import Iterable

LOOP = re.compile(r"^\s*(until|while|for)\b")
LOOP_WORDS = re.compile(r"(?<![\w$./-])(until|while|for|select|done)(?![\w./-])")
#: A command that shows a session of others; it waits, or ends the login.
ATTACH = re.compile(
    r"\b(screen\s+(\S+\s+)*?-\w*[xrR]\b|tmux\s+(\S+\s+)*?(attach|attach-session|a)\b)"
)
EXEC_ATTACH = re.compile(rf"\bexec\s+(sudo\s+)?(?={ATTACH.pattern})")
COMMENT = re.compile(r"(?:^|\s)#.*")
MARK = ": # deeprig: "
MARK_OF_SETTINGS = "# deeprig: "


def switch_off_sessions(text: str) -> str:
    """Comment out, with a mark that keeps a block valid, what keeps a login from ending."""
    result: list[str] = []
    block: list[str] = []
    depth = 0
    for line in text.splitlines(keepends=True):
        code = COMMENT.sub("", line)
        if depth == 0 and not LOOP.match(code):
            result.append(f"{MARK}{line}" if EXEC_ATTACH.search(code) else line)
            continue
        depth += sum(-1 if word == "done" else 1 for word in LOOP_WORDS.findall(code))
        block.append(line)
        if depth <= 0:
            result += _switch_off_block(block)
            block, depth = [], 0
    return "".join([*result, *block])


def _switch_off_block(block: list[str]) -> list[str]:
    attaches = any(ATTACH.search(COMMENT.sub("", line)) for line in block)
    return [f"{MARK}{line}" for line in block] if attaches else block


def switch_off_lines(text: str, folders: Iterable[str]) -> str:
    """Comment out each line of a settings file that names a path in one of the folders."""
    places = "|".join(map(re.escape, folders))
    pattern = re.compile(rf"(?<![\w.-])(?:{places})(?=/)") if places else None
    lines = text.splitlines(keepends=True)
    return "".join(
        f"{MARK_OF_SETTINGS}{line}" if pattern and pattern.search(COMMENT.sub("", line)) else line
        for line in lines
    )

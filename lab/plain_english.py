"""`make lint`: report words of plain_english.yml, and lines that ruff may not lay out.

Read are docstrings, comments and strings of Python files, and every line of documents, playbooks
and pages; names of variables and functions are not.
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
TABLE = Path(__file__).with_suffix(".yml")
SUFFIXES = {".py", ".md", ".yml", ".yaml", ".html", ".js", ".j2", ".sh"}
#: Files of others, or lists of words to avoid.
LEFT_OUT = (
    "lab/flavours/",
    "lab/plain_english.",
    "tests/monitoring/schema/",
    "tests/unit/project/test_plain_english.py",
)
LAYOUT_MARK = "fmt: " + "skip"
MOST_LAYOUT_MARKS = 20  # in the whole checkout


@dataclass(frozen=True)
class Word:
    """A row of the table."""

    pattern: re.Pattern[str]
    instead: str
    allowed: tuple[str, ...]


def read_words(path: Path = TABLE) -> list[Word]:
    """Return the rows of the table."""
    rows = yaml.safe_load(path.read_text(encoding="utf-8"))["words"]
    return [
        Word(re.compile(row["pattern"], re.I), row["instead"], tuple(row.get("allowed", ())))
        for row in rows
    ]


def text_lines(name: str, content: str) -> Iterator[tuple[int, str]]:
    """Yield the numbered lines that people read in a file of this name."""
    if not name.endswith(".py"):
        yield from enumerate(content.splitlines(), 1)
        return
    kinds = {tokenize.STRING, tokenize.COMMENT, getattr(tokenize, "FSTRING_MIDDLE", -1)}
    for token in tokenize.generate_tokens(io.StringIO(content).readline):
        if token.type in kinds:
            yield from enumerate(token.string.splitlines(), token.start[0])


def find_words(name: str, content: str, words: list[Word]) -> Iterator[str]:
    """Yield a line for each word of the table in a file: where, which, and the advice."""
    for number, line in text_lines(name, content):
        for word in words:
            match = word.pattern.search(line)
            if match and not any(text in line for text in word.allowed):
                yield f"{name}:{number}: '{match.group()}': write {word.instead}"


def tracked_files() -> list[str]:
    """Return the text files of the checkout, new ones included."""
    command = ["git", "-c", "safe.directory=*", "ls-files", "-co", "--exclude-standard"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [
        name
        for name in done.stdout.splitlines()
        if Path(name).suffix in SUFFIXES
        and not name.startswith(LEFT_OUT)
        and (ROOT / name).is_file()
    ]


def main() -> int:
    """Print all findings; return 0 when there are none."""
    words = read_words()
    findings: list[str] = []
    marks = 0
    for name in tracked_files():
        content = (ROOT / name).read_text(encoding="utf-8", errors="replace")
        findings += find_words(name, content, words)
        marks += content.count(LAYOUT_MARK) if name.endswith(".py") else 0
    if marks > MOST_LAYOUT_MARKS:
        findings.append(f"{marks} lines with '{LAYOUT_MARK}'; at most {MOST_LAYOUT_MARKS}")
    print("\n".join(findings), file=sys.stderr, end="\n" if findings else "")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())

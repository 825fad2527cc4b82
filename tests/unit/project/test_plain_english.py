"""The check of words (`make lint`) reads texts for people and skips names."""

from __future__ import annotations

import pytest

from lab.plain_english import find_words, read_words

WORDS = read_words()


@pytest.mark.parametrize(
    ("name", "content", "count"),
    [
        ("a.py", '"""What it said."""\n', 1),
        ("a.py", "x = 1  # anew\n", 1),
        ("a.py", "def told() -> None:\n    said = 1\n", 0),
        ("a.py", 'print(f"there {x} gives way")\n', 1),
        ("a.md", "A line.\nIt stands in a file.\n", 1),
        ("a.md", "It is no longer here.\n", 0),
        ("a.md", "It is no rig.\n", 1),
        ("a.yml", "user: nobody:\n", 0),
    ],
)
def test_words_are_found_in_texts_only(name: str, content: str, count: int) -> None:
    assert len(list(find_words(name, content, WORDS))) == count


def test_a_finding_has_its_place_and_advice() -> None:
    (line,) = find_words("a.md", "\nIt was mended.\n", WORDS)
    assert line == "a.md:2: 'mended': write fix"

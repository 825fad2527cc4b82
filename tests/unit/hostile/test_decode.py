"""Data of a rig is limited before it is decompressed: size, depth, number of values, types."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import TypedDict

import pytest

from provision.boundary import decode
from provision.boundary.decode import BoundaryError, Limits, check_type, inflate, parse_json

SMALL = Limits(size=1000, values=20, depth=5)


def test_decompression_bomb_is_refused() -> None:
    bomb = zlib.compress(b"\0" * (64 << 20), 9)
    with pytest.raises(BoundaryError, match="unpack to more than 1048576"):
        inflate(bomb, 1 << 20)
    assert inflate(zlib.compress(b"x" * 1000), 1000) == b"x" * 1000
    assert inflate(gzip.compress(b"x" * 10), 10, decode.GZIP) == b"x" * 10


def test_only_the_start_of_a_bomb_is_decompressed() -> None:
    content, whole = decode.inflate_start(gzip.compress(b"\0" * (64 << 20)), 1 << 20)
    assert (len(content), whole) == (1 << 20, False)
    cut_off = gzip.compress(bytes(range(256)) * 100)[:-20]
    content, _ = decode.inflate_start(cut_off, 1 << 20)
    assert content.startswith(bytes(range(256)))


@pytest.mark.parametrize("data", [b"", b"garbage", b"\x78\x9c\xff\xff\xff"])
def test_uncompressed_data_is_an_error(data: bytes) -> None:
    if data:
        with pytest.raises(BoundaryError):
            inflate(data, 100)
    else:
        assert inflate(data, 100) == b""


@pytest.mark.parametrize(
    "document",
    [
        b"[" * 100_000,
        b"[[[[[[[]]]]]]]",
        b'{"a":' * 6 + b"1" + b"}" * 6,
        b"[" + b"1," * 30 + b"1]",
        b'{"a": NaN}',
        b"[Infinity]",
        b"[-Infinity]",
        b"[1e999]",
        b'"' + b"x" * 2000 + b'"',
        b'{"a": "\xff"}',
        b"[1, 2",
        b"9" * 900 + b"9" * 5000,
    ],
)
def test_document_over_a_limit_is_an_error(document: bytes) -> None:
    with pytest.raises(BoundaryError):
        parse_json(document, SMALL)


def test_separators_within_texts_are_not_counted() -> None:
    document = {"stdout": 'a, b: [c] {d} "e" \\ ' * 10}
    assert parse_json(json.dumps(document), SMALL) == document
    assert parse_json(b'{"a": [1, 2.5, true, null, "\\ud800"]}', SMALL) == {
        "a": [1, 2.5, True, None, "\ud800"]
    }


class Card(TypedDict):
    name: str
    lanes: int


@pytest.mark.parametrize(
    "value", [{}, [], None, {"name": "x"}, {"name": 1, "lanes": 1}, {"name": "x", "lanes": True}]
)
def test_value_of_a_wrong_type_is_an_error(value: object) -> None:
    with pytest.raises(BoundaryError, match="the rig's card can't be used"):
        check_type(value, Card, "card")


def test_texts_of_a_checked_value_have_no_control_characters() -> None:
    card = check_type({"name": "a\x1b[2Jb", "lanes": 4, "more": 1}, Card, "card")
    assert card == {"name": "ab", "lanes": 4}

"""Damaged result files: whatever they contain, the agent continues and reports them.

The seeds are fixed, so that what fails once fails again.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from agent.checks.verdicts import judge_sample
from agent.readings.nccl import NUMBER_MOST, CollectiveResult, CollectiveResults, ResultReader
from tests.unit.agent import samples
from tests.unit.agent.readings.test_nccl import EXAMPLE
from tests.unit.agent.test_metrics import render

SEEDS = range(12)
FILES = 60  # a seed
ODD: list[Any] = [
    None,
    True,
    -1,
    0,
    0.5,
    1e308,
    -1e308,
    float("nan"),
    float("inf"),
    2**63,
    2**63 + 1,
    10**400,
    "",
    "x" * 9000,
    "\ud800",
    "a\nb",
    [],
    {},
    [[]],
    [None],
    {"a": None},
    [{}],
    "0000:04:00.0",
]
Target = dict[str, Any] | list[Any]


def places(value: Any) -> Iterator[tuple[Target, Any]]:
    """Yield every field and entry below a value."""
    if isinstance(value, (dict, list)):
        keys = list(value) if isinstance(value, dict) else range(len(value))
        for key in keys:
            yield value, key
            yield from places(value[key])


def change_values(chance: random.Random) -> bytes:
    """Return a valid document with a value changed, removed, or copied elsewhere."""
    document = copy.deepcopy(EXAMPLE)
    for _ in range(chance.randint(1, 3)):
        choices = list(places(document))
        if not choices:
            break
        target, key = chance.choice(choices)
        how = chance.randrange(3)
        if how == 0:
            del target[key]
        elif how == 1:
            target[key] = copy.deepcopy(chance.choice(ODD))
        else:
            other, name = chance.choice(choices)
            target[key] = copy.deepcopy(other[name])
    return json.dumps(document).encode()


def change_bytes(chance: random.Random) -> bytes:
    """Return a valid document with bytes changed, removed, or repeated."""
    content = bytearray(json.dumps(EXAMPLE).encode())
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(content))
        length = chance.randint(1, 20)
        how = chance.randrange(4)
        if how == 0:
            content[at] = chance.randrange(256)
        elif how == 1:
            del content[at : at + length]
        elif how == 2:
            content[at:at] = content[at : at + length] * 3
        else:
            del content[at:]
        if not content:
            break
    return bytes(content)


def check(result: CollectiveResult) -> None:
    """Assert that a result has the types of its fields, and numbers that can be served."""
    for field in fields(CollectiveResult):
        value = getattr(result, field.name)
        if field.type in ("int", "float"):
            assert isinstance(value, (int, float))
            assert not isinstance(value, bool)
            assert 0 <= value <= NUMBER_MOST
    assert result.ranks >= 1
    assert result.size_bytes >= 1
    assert result.wrong_values is None or result.wrong_values >= 0


@pytest.mark.parametrize("spoil", [change_values, change_bytes])
@pytest.mark.parametrize("seed", SEEDS)
def test_damaged_file_is_a_result_or_ignored_with_a_reason(
    spoil: Callable[[random.Random], bytes], seed: int, tmp_path: Path
) -> None:
    chance = random.Random(seed)
    for number in range(FILES):
        (tmp_path / f"{number}.json").write_bytes(spoil(chance))
    results = ResultReader(tmp_path).read()
    assert results.files_read + len(results.ignored) == FILES
    assert results.ignored, "something was spoiled"
    for file in results.ignored:
        assert file.reason
        assert len(file.reason) < 200
        assert "\n" not in file.reason
    for result in results.results:
        check(result)
    serve(results)


def serve(results: CollectiveResults) -> None:
    """Judge the results, and write them in both formats and as JSON."""
    sample = replace(samples.make_sample(), nccl=results)
    sample = replace(sample, verdicts=judge_sample(samples.context(sample)))
    for text in render(sample):
        assert b"deeprig_nccl_result_files" in text
    json.dumps([vars(result) for result in results.results], allow_nan=False).encode()

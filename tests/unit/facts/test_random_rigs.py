"""Two hundred rigs made at random: nothing is missed; thirty clean systems: nothing is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.facts.clean_trees import KINDS, make_clean_tree
from tests.unit.facts.random_rigs import make_rig
from tests.unit.facts.signs import read_mining_facts
from tests.unit.modules.rig import create_files


@pytest.mark.parametrize("seed", range(200))
def test_no_starter_and_no_guard_is_missed(tmp_path: Path, seed: int) -> None:
    rig = make_rig(seed)
    create_files(tmp_path, rig.files)
    facts = read_mining_facts(tmp_path)
    evidence = {row["evidence"] for row in facts["miners"]}
    assert rig.expected in evidence, (rig.files, facts)
    assert not rig.guard or rig.guard in evidence, (rig.files, facts)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_found_where_nothing_ever_mined(tmp_path: Path, kind: str, seed: int) -> None:
    create_files(tmp_path, make_clean_tree(kind, seed))
    facts = read_mining_facts(tmp_path)
    assert (facts["miners"], facts["suspects"]) == ([], [])

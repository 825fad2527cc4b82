"""`fab advise` reads a rig: its links, and its newest benchmark."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.rigs.machine import Rig
from provision.performance.measured import FOLDER
from tests.lab.operator import fab


@pytest.fixture(scope="module")
def rig_inventory(rig: Rig, write_inventory: Callable[..., Path]) -> Path:
    return write_inventory(rig)


@pytest.fixture
def benchmarks(rig: Rig) -> Iterator[Callable[[str, Any], None]]:
    """Write documents to the rig; remove them after the test."""

    def leave(name: str, document: Any) -> None:
        rig.run(f"mkdir -p {FOLDER} && cat > {FOLDER}/{name} <<'END'\n{json.dumps(document)}\nEND")

    yield leave
    rig.run(f"rm -rf {FOLDER}")


def advise_as_json(inventory: Path, rig: Rig) -> dict[str, Any]:
    result = fab(inventory, rig.name, "advise", "--model", "llama-2-7b", "--json")
    assert result.status == 0, result.text
    document: dict[str, Any] = json.loads(result.stdout)[rig.name]
    return document


def test_advise_reads_the_links_of_the_seed_rig(rig: Rig, rig_inventory: Path) -> None:
    """Two cards on Gen2 x1 of the chipset, one on a Gen3 x1 riser; the board splits its slot."""
    document = advise_as_json(rig_inventory, rig)
    links = [(link["generation"], link["width"]) for link in document["rig"]["links"]]
    assert links == [(2, 1), (2, 1), (3, 1)]
    assert document["rig"]["board"].endswith("B450 Steel Legend")
    assert document["rig"]["measured"] is None
    assert document["advice"][0]["change"] == "bifurcation"


def test_newest_benchmark_of_the_rig_is_used(
    rig: Rig, rig_inventory: Path, benchmarks: Callable[[str, Any], None]
) -> None:
    size = 1 << 26
    measured = {
        "format": "deeprig-bench",
        "version": 1,
        "finished_at": 1.7e9,
        "backend": "nccl",
        "ranks": 3,
        "gpus": ["0000:04:00.0", "0000:06:00.0", "0000:08:00.0"],
        "collectives": [
            {
                "collective": "all_reduce",
                "ranks": 3,
                "sizes": [
                    {"size_bytes": size, "time_seconds": size * 4 / 3 / 0.3e9, "wrong_values": 0}
                ],
            }
        ],
    }
    benchmarks("1.json", measured)
    document = advise_as_json(rig_inventory, rig)
    assert document["rig"]["measured"].startswith(f"{FOLDER}/1.json")
    (ddp,) = [
        candidate
        for candidate in document["models"][0]["candidates"]
        if (candidate["task"], candidate["form"]) == ("lora", "ddp")
    ]
    (sent,) = ddp["transfers"]
    assert sent["origin"] == "measured"
    assert sent["bus_bandwidth_bytes_per_second"] == pytest.approx(0.3e9)


def test_benchmark_of_another_version_is_reported_and_ignored(
    rig: Rig, rig_inventory: Path, benchmarks: Callable[[str, Any], None]
) -> None:
    benchmarks("1.json", {"format": "deeprig-bench", "version": 7})
    notes = advise_as_json(rig_inventory, rig)["rig"]["notes"]
    assert any("version 7" in note for note in notes)

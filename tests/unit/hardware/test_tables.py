"""The hardware tables: every row is complete, names its source, and is found by its name."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from provision.errors import DeeprigError, SourceError
from provision.hardware import FOLDER, boards, cards, chipsets, cpus

FACTS = yaml.safe_load((Path(__file__).parent / "facts_boards.yml").read_text())
READ: dict[str, Callable[[Path], Any]] = {
    "boards": boards.boards,
    "cpus": cpus.cpus,
    "chipsets": chipsets.chipsets,
    "gpus": cards.cards,
}


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact["name"])
def test_board_is_found_by_its_typed_name(fact: dict[str, str]) -> None:
    row = boards.board(fact["name"], boards.boards())
    assert row is not None
    assert row.confidence == fact["confidence"]
    assert getattr(row, fact["has"])


def test_board_is_found_by_its_firmware_name() -> None:
    table = boards.boards()
    assert len(table) == 26
    for row in table:
        assert boards.board(row.name, table) is row
        assert boards.board(f"{row.vendor} {row.name}", table) is row
        matching = [
            other.name for other in table if re.search(other.match, row.name, re.IGNORECASE)
        ]
        assert set(matching) <= {row.name}, "a row takes another one's board"


def test_board_is_found_with_a_model_number_suffix() -> None:
    row = boards.board("MEG B550 UNIFY-X (MS-7D13)", boards.boards())
    assert row is not None
    assert row.menu.endswith("PCI_E1 Lanes Configuration")


def test_chipset_of_a_board_is_in_the_chipset_table() -> None:
    for row in boards.boards():
        if row.chipset:
            chipset, by_name = chipsets.chipset(row.chipset), chipsets.chipset(row.name)
            assert chipset is not None, row.name
            assert row.chipset in chipset.name.split(", "), row.name
            assert by_name in (None, chipset), row.name


@pytest.mark.parametrize(
    ("board", "chipset"),
    [
        ("ASRock B450 Gaming K4", "B350, B450"),
        ("PRIME B350M-A", "B350, B450"),
        ("MSI H310M PRO-VDH", "H110, H310"),
        ("Z390 AORUS PRO-CF", "Z170, Z270, Z370, Z390"),
        ("H81 Pro BTC R2.0", "H81, B85, H87, H97"),
        ("ROG STRIX B650E-F GAMING WIFI", "B650, X670, B850, X870"),
        ("PRIME Z890-P", "Z890"),
        ("X10DRG-Q", None),
    ],
)
def test_unknown_board_is_found_by_its_chipset(board: str, chipset: str | None) -> None:
    row = chipsets.chipset(board)
    assert (row.name if row else None) == chipset


def test_desktop_intel_chipsets_never_split_x4x4x4x4() -> None:
    for row in chipsets.chipsets():
        if row.socket.startswith("LGA115") or row.socket in ("LGA1200", "LGA1700"):
            assert row.splits
            assert (4, 4, 4, 4) not in row.splits


def test_slot_splits_never_exceed_the_lanes() -> None:
    for row in boards.boards():
        for slot in row.slots:
            assert all(sum(split) <= slot.lanes for split in slot.splits), row.name
        assert [width.gpus for width in row.path_widths] == sorted(
            width.gpus for width in row.path_widths
        )


@pytest.mark.parametrize(
    ("name", "lanes", "socket"),
    [
        ("Intel(R) Core(TM) i7-5820K CPU @ 3.30GHz", 28, "LGA2011-3"),
        ("Intel(R) Core(TM) i7-6850K CPU @ 3.60GHz", 40, "LGA2011-3"),
        ("Intel(R) Core(TM) i7-7740X CPU @ 4.30GHz", 16, "LGA2066"),
        ("Intel(R) Core(TM) i7-7820X CPU @ 3.60GHz", 28, "LGA2066"),
        ("Intel(R) Core(TM) i9-7900X CPU @ 3.30GHz", 44, "LGA2066"),
        ("Intel(R) Core(TM) Ultra 7 265K", 20, "LGA1851"),
        ("AMD Ryzen Threadripper 3960X 24-Core Processor", 56, "sTRX4"),
        ("Intel(R) Core(TM) i7-7700K CPU @ 4.20GHz", 16, "LGA1151"),
        # Numbers that look like those of a socket with fewer lanes, or of an older one.
        ("Intel(R) Core(TM) i9-10980XE CPU @ 3.00GHz", 48, "LGA2066"),
        ("Intel(R) Core(TM) i9-10900K CPU @ 3.70GHz", 16, "LGA1200"),
        ("Intel(R) Core(TM) i7-4930K CPU @ 3.40GHz", 40, "LGA2011"),
        ("Intel(R) Core(TM) i7-4790K CPU @ 4.00GHz", 16, "LGA1150"),
        ("AMD Ryzen Threadripper PRO 7975WX 32-Cores", 128, "sTR5"),
        ("AMD Ryzen Threadripper PRO 3975WX 32-Cores", 128, "sWRX8"),
    ],
)
def test_processor_is_found_with_lanes_and_socket(name: str, lanes: int, socket: str) -> None:
    processor = cpus.cpu(name)
    assert processor is not None
    assert (processor.lanes, processor.socket) == (lanes, socket)


@pytest.mark.parametrize(
    ("name", "generation"),
    [
        ("AMD Ryzen 5 5600X 6-Core Processor", 4),
        ("AMD Ryzen 7 5700X 8-Core Processor", 4),
        # The same silicon as a G processor, its graphics switched off.
        ("AMD Ryzen 7 5700 8-Core Processor", 3),
        ("AMD Ryzen 5 5500", 3),
        ("AMD Ryzen 5 PRO 4650G with Radeon Graphics", 3),
    ],
)
def test_processor_with_graphics_has_an_older_pcie_generation(name: str, generation: int) -> None:
    processor = cpus.cpu(name)
    assert processor is not None
    assert (processor.socket, processor.generation) == ("AM4", generation)


def test_processor_rows_cite_the_maker() -> None:
    for row in cpus.cpus():
        amd = re.search("Ryzen|Threadripper|EPYC", row.match)
        assert row.source.startswith("AMD's" if amd else "Intel's"), row.match


@pytest.mark.parametrize(
    "text",
    [
        "0x RTX 3090",
        "65x RTX 3090",
        "1000000000x RTX 3090",
        "60x RTX 3090, 5x RTX 3080",
        "-3x RTX 3090",
        f"{'9' * 5000}x RTX 3090",
        ", RTX 3090",
    ],
)
def test_number_of_gpus_is_limited(text: str) -> None:
    with pytest.raises(DeeprigError) as raised:
        cards.cards_named(text, cards.cards())
    assert raised.value.advice
    assert len(cards.cards_named("64x RTX 3090", cards.cards())) == 64


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("3090", ["GeForce RTX 3090"]),
        ("2x3090", ["GeForce RTX 3090"] * 2),
        ("1x1080ti, 2xRTX3080", ["GeForce GTX 1080 Ti", *["GeForce RTX 3080"] * 2]),
        ("NVIDIA GeForce RTX 2080 Ti,2080 Ti", ["GeForce RTX 2080 Ti"] * 2),
        ("P106-100", ["P106-100"]),
    ],
)
def test_gpus_are_found_by_common_names(text: str, names: list[str]) -> None:
    assert [card.name for card in cards.cards_named(text, cards.cards())] == names


@pytest.mark.parametrize(
    ("name", "message", "advice"),
    [
        ("GTX 1060", "unknown GPU", ("GTX 1060 3GB", "GTX 1060 6GB")),
        ("V100", "unknown GPU", ("V100 PCIe 16GB", "V100 PCIe 32GB")),
        ("RTX 309", "unknown GPU", ("RTX 3090",)),
        ("RX 580", "is not an NVIDIA GPU", ("NVIDIA's driver",)),
        ("Radeon VII", "is not an NVIDIA GPU", ()),
        ("zzz", "unknown GPU", ("RTX 3090", "P104-100")),
    ],
)
def test_unknown_gpu_error_suggests_similar_names(
    name: str, message: str, advice: tuple[str, ...]
) -> None:
    with pytest.raises(DeeprigError) as raised:
        cards.card(name, cards.cards())
    assert message in raised.value.message
    assert all(words in (raised.value.advice or "") for words in advice), raised.value.advice
    assert "1660" not in (raised.value.advice or "") or name == "zzz"


def test_3090_row_has_gddr6x_on_the_back() -> None:
    card = cards.card("RTX 3090", cards.cards())
    assert (card.memory_type, card.memory_on_back, card.architecture) == ("GDDR6X", True, "ampere")
    assert card.confidence == "A"


@pytest.mark.parametrize(
    ("table", "was", "becomes", "message"),
    [
        ("boards", "confidence: C", "confidence: D", "should be one of A, B, C, not 'D'"),
        ("boards", "confidence: C", "confidance: C", "unknown field 'confidance'"),
        ("boards", "width: 16}", "width: wide}", "'width' should be int, not 'wide'"),
        ("boards", "lanes_from: cpu}", "lanes_from: moon}", "one of cpu, chipset, not 'moon'"),
        ("boards", "source: engineered.at", 'source: " "', "'source' is empty"),
        ("boards", "    vendor: ASRock\n", "", "'vendor' is missing"),
        ("boards", "\\\\bB450 Steel", "(B450 Steel", "'match' is not a regular expression"),
        (
            "boards",
            "  - name: B450 Steel Legend\n",
            "  - 7\n  - name: B450 Steel Legend\n",
            "a row should be a mapping, not 7",
        ),
        ("boards", "{gpus: 1, width: 16}", "16", "a row should be a mapping, not 16"),
        ("cpus", "lanes: 8,", "lanes: many,", "'lanes' should be int, not 'many'"),
        ("cpus", "splits: [[8]", "splits: [8", "should be a list, not 8"),
        ("chipsets", "    generation: 2\n", "", "'generation' is missing"),
        ("chipsets", "chipsets:", "boards:", "there should be a list 'chipsets'"),
        ("gpus", "memory_mib: 4096,", "", "'memory_mib' is missing"),
        ("gpus", '"13c2"', '"13cx"', "'13cx' is not a PCI device id"),
        ("gpus", "generation: maxwell", "generation: maxvell", "unknown generation 'maxvell'"),
    ],
)
def test_invalid_row_is_an_error_with_its_line(
    table: str, was: str, becomes: str, message: str, tmp_path: Path
) -> None:
    text = (FOLDER / f"{table}.yml").read_text()
    assert was in text
    broken = tmp_path / f"{table}.yml"
    broken.write_text(text.replace(was, becomes, 1))
    with pytest.raises(SourceError) as raised:
        READ[table](broken)
    assert message in raised.value.message
    assert raised.value.position is not None
    assert raised.value.position.path == str(broken)
    rows = text[: text.index(was)].count("\n") + 1
    near = (
        30 if "missing" in message or "list" in message else 0
    )  # reported at the start of the row
    assert abs(raised.value.position.line - rows) <= near

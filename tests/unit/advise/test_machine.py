"""A rig as the predictions describe it, from flags or from facts."""

from __future__ import annotations

import pytest

from provision.errors import DeeprigError
from provision.hardware import cards, cpus
from provision.performance import machine
from provision.performance.links import Link
from provision.performance.measured import Measurements
from provision.performance.network import ANY, Cost, Network
from tests.unit.advise import rigs


def test_rig_is_described_by_flags() -> None:
    rig = rigs.seed()
    assert [card.name for card in rig.cards] == ["GeForce RTX 3090"] * 3
    assert rig.links == (Link(2, 1), Link(2, 1), Link(3, 16))
    assert rig.board is not None
    assert rig.board.confidence == "C"
    assert rig.cpu is not None
    assert rig.host_memory == 42.7e9
    assert rig.generation == 3  # the processor's, though the card can do 4


def test_gpus_have_sixteen_lanes_by_default() -> None:
    rig = machine.from_words("2x RTX 4090", "", cpu="Ryzen 9 5950X")
    assert rig.links == (Link(4, 16), Link(4, 16))


@pytest.mark.parametrize(
    ("gpus", "links", "message", "advice"),
    [
        ("3x RTX 3090", "gen2x1,gen3x16", "2 links for 3 GPUs", "one for each GPU"),
        ("3x RTX 309", "", "unknown GPU 'RTX 309'", "Did you mean RTX 3090"),
        ("", "", "is not a GPU", "--gpus"),
        ("RTX 3090", "gen3x5", "is not a link", "gen3x4"),
    ],
)
def test_invalid_flags_are_reported(gpus: str, links: str, message: str, advice: str) -> None:
    with pytest.raises(DeeprigError) as raised:
        machine.from_words(gpus, links)
    assert message in raised.value.message
    assert advice in raised.value.advice


def test_gpu_is_found_by_id_and_by_variants_of_its_name() -> None:
    table = cards.cards()
    names = {cards.card(name, table).name for name in ("2204", "rtx 3090", "NVIDIA RTX3090")}
    assert names == {"GeForce RTX 3090"}


def test_every_processor_matches_its_row() -> None:
    for name, socket in {
        "AMD Ryzen 5 1600 Six-Core Processor": "AM4",
        "AMD Ryzen 5 2400G with Radeon Vega Graphics": "AM4",
        "AMD Ryzen 7 5700G with Radeon Graphics": "AM4",
        "AMD Ryzen Threadripper 1920X 12-Core Processor": "TR4",
        "AMD Ryzen Threadripper PRO 5975WX 32-Cores": "sWRX8",
        "AMD EPYC 7302 16-Core Processor": "SP3",
        "Intel(R) Core(TM) i5-6500 CPU @ 3.20GHz": "LGA1151",
        "Intel(R) Celeron(R) CPU G3930 @ 2.90GHz": "LGA1151",
        "12th Gen Intel(R) Core(TM) i5-12400F": "LGA1700",
        "Intel(R) Xeon(R) CPU E5-2680 v4 @ 2.40GHz": "LGA2011-3",
    }.items():
        cpu = cpus.cpu(name)
        assert cpu is not None, name
        assert cpu.socket == socket, name
    assert cpus.cpu("VIA Nano") is None


def test_splits_never_exceed_the_lanes_of_the_processor() -> None:
    for row in cpus.cpus():
        assert all(sum(split) <= row.lanes for split in row.splits), row.match


def test_rig_is_described_by_facts() -> None:
    narrow = rigs.gpu([rigs.port("0000:00:01.1", 1, 5.0), rigs.port("0000:04:00.0", 1, 8.0)])
    wide = rigs.gpu([rigs.port("0000:00:03.1", 16, 8.0), rigs.port("0000:08:00.0", 16, 16.0)])
    rig = machine.from_facts("attic", rigs.facts(narrow, wide))
    assert rig.links == (Link(2, 1), Link(3, 16))
    assert rig.board is not None
    assert rig.memory_bytes == 3936 * 2**20


def test_gpus_behind_one_switch_share_its_link() -> None:
    above = rigs.port("0000:00:01.0", 16, 8.0)
    gpus = [rigs.gpu([above, rigs.port(f"0000:0{n}:00.0", 16, 8.0)]) for n in range(1, 5)]
    rig = machine.from_facts("attic", rigs.facts(*gpus))
    assert rig.links == (Link(3, 16, sharers=4),) * 4
    assert rig.links[0].bandwidth == 3e9


def test_narrow_links_behind_a_wide_link_keep_their_width() -> None:
    above = rigs.port("0000:00:01.0", 4, 8.0)
    gpus = [rigs.gpu([above, rigs.port(f"0000:0{n}:00.0", 1, 5.0)]) for n in (1, 2)]
    assert machine.from_facts("attic", rigs.facts(*gpus)).links == (Link(2, 1), Link(2, 1))


def test_gpus_at_an_intel_chipset_share_its_link_to_the_processor() -> None:
    def rig(gpus: int, speed: float) -> Link:
        roots = [
            rigs.port(f"0000:00:1{'cd'[n // 8]}.{n % 8}", 1, speed) | {"vendor_id": "8086"}
            for n in range(gpus)
        ]
        ways = [
            [root, rigs.port(f"0000:{n + 1:02x}:00.0", 1, 16.0)] for n, root in enumerate(roots)
        ]
        links = machine.from_facts("attic", rigs.facts(*map(rigs.gpu, ways))).links
        assert len(set(links)) == 1
        return links[0]

    # A B250 (DMI 3) carries four x1 risers whole, and twelve no more; an H110 has DMI 2.
    assert rig(4, 8.0) == Link(3, 1)
    assert rig(12, 8.0) == Link(3, 4, sharers=12)
    assert rig(6, 5.0) == Link(2, 4, sharers=6)


def test_missing_driver_is_noted() -> None:
    gpu = rigs.gpu([rigs.port("0000:04:00.0", 1, 8.0)])
    assert machine.from_facts("attic", rigs.facts(gpu)).notes == ()
    assert "fab provision" in machine.from_facts("attic", rigs.facts(gpu, driver=None)).notes[0]


def test_rig_without_gpus_is_an_error() -> None:
    with pytest.raises(DeeprigError, match="no NVIDIA GPU") as raised:
        machine.from_facts("attic", rigs.facts())
    assert "riser" in raised.value.advice


def test_gpu_that_fell_off_the_bus_is_an_error() -> None:
    gone = {**rigs.gpu([rigs.port("0000:04:00.0", 1, 8.0)]), "path_width": None}
    with pytest.raises(DeeprigError, match=r"0000:04:00\.0 does not answer"):
        machine.from_facts("attic", rigs.facts(gone))


def test_unknown_gpu_is_an_error() -> None:
    odd = rigs.gpu([rigs.port("0000:04:00.0", 1, 8.0)], device="ffff")
    with pytest.raises(DeeprigError, match="ffff") as raised:
        machine.from_facts("attic", rigs.facts(odd))
    assert "gpus.yml" in raised.value.advice


MEASURED = Network({ANY: Cost(50e-6, 0.0, 0.3e9, origin="measured")})


def test_measurement_is_used_only_for_its_own_links() -> None:
    rig = machine.with_measured(rigs.seed(), Measurements("x.json", 3, 0.0, MEASURED))
    assert machine.network_of(rig, rig, 3) is MEASURED
    other = machine.network_of(rig.uniform(3, 4), rig, 3).cost(ANY)
    assert other.origin == "scaled"
    assert other.bandwidth == pytest.approx(3e9 * 0.3 / 0.375)
    assert machine.network_of(rig.uniform(3, 4), rigs.seed(), 3).cost(ANY).origin == "derived"


def test_measurement_of_fewer_gpus_is_scaled_and_noted() -> None:
    rig = machine.with_measured(rigs.seed(), Measurements("x.json", 2, 0.0, MEASURED))
    assert rig.measured is not None
    assert any("2 GPUs" in note for note in rig.measured.notes)
    assert machine.network_of(rig, rig, 3).cost(ANY).origin == "scaled"


def test_link_is_limited_to_the_generation_of_its_card() -> None:
    assert rigs.seed("2x gen5x16", "2x GTX 1080 Ti").links == (Link(3, 16),) * 2
    rig = machine.with_hardware(rigs.seed(), [Link(5, 4)] * 3, "", None, "")
    assert rig.links == (Link(4, 4),) * 3


def test_other_gpus_keep_the_links_of_the_rig() -> None:
    rig = rigs.seed()
    other = machine.with_cards(rig, rigs.seed(gpus="3x RTX 4090").cards, None)
    assert other.links == rig.links
    assert other.board == rig.board
    assert {card.name for card in other.cards} == {"GeForce RTX 4090"}
    with pytest.raises(DeeprigError, match="3 links for 2 GPUs"):
        machine.with_cards(rig, rigs.seed("2x gen3x1", "2x RTX 4090").cards, None)


def test_gpus_with_the_fastest_links_are_used_first() -> None:
    rig = machine.from_words("3x RTX 3090", "gen3x8,gen2x1,gen3x16")
    assert rig.best(2) == [0, 2]


def test_mining_card_is_limited_to_its_own_lanes_and_speed() -> None:
    rig = machine.from_words("P104-100, CMP 40HX, P106-100", "3x gen3x16")
    assert [str(link) for link in rig.links] == ["Gen1 x4", "Gen1 x16", "Gen3 x16"]
    rig = machine.from_words("2x RTX 4060 Ti", "2x gen3x1")
    assert rig.uniform(4, 16).links == (Link(4, 8),) * 2

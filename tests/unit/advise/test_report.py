"""The report on the seed rig, and its recommendations."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from provision.advise import explain, plot, report, show
from provision.advise.report import AdviceReport
from provision.errors import DeeprigError
from provision.performance import figures, machine, models, recommend
from provision.performance.candidates import Work
from provision.performance.layout import FORMS
from provision.performance.links import Link
from tests.unit.advise import rigs

KNOWN = models.load()


def make_report(
    *names: str, precision: str = "bf16", links: str = "gen2x1,gen2x1,gen3x16"
) -> AdviceReport:
    return report.make_report(
        rigs.seed(links), [KNOWN[name] for name in names], precision, Work(2048)
    )


@pytest.fixture(scope="module")
def seven() -> AdviceReport:
    return make_report("llama-2-7b")


def render_report(advice: AdviceReport, explained: bool = False) -> str:
    out = io.StringIO()
    console = Console(file=out, width=80, highlight=False, soft_wrap=True)
    show.show_report(advice, console, details=True)
    if explained:
        explain.show_explanation(advice, console)
    return out.getvalue()


def test_grid_has_every_width_and_the_generation_of_the_rig_first(
    seven: AdviceReport,
) -> None:
    assert seven.generations == (3, 1, 2, 4)
    for row in seven.models[0].rows:
        if row.candidate.fits:
            assert set(row.grid) == {(g, w) for g in (1, 2, 3, 4) for w in (1, 4, 8, 16)}


def test_sequence_is_limited_to_the_context_of_the_model() -> None:
    (advice,) = report.make_report(rigs.seed(), [KNOWN["gpt2"]], "bf16", Work(2048)).models
    assert {row.candidate.load.sequence for row in advice.rows} == {1024}


def test_fewer_lanes_are_never_faster(seven: AdviceReport) -> None:
    for row in seven.models[0].rows:
        for generation in seven.generations if row.now else ():
            losses = [row.loss(generation, width) for width in (1, 4, 8, 16)]
            assert losses == sorted(losses, reverse=True)
            assert losses[-1] == 0


def test_loss_of_each_form_is_ordered_as_published(seven: AdviceReport) -> None:
    """LoRA's DDP sends little; FSDP sends all weights; tensor parallelism all activations."""
    loss = {
        (row.candidate.task, row.candidate.layout.form): row.loss(3, 1)
        for row in seven.models[0].rows
        if row.now
    }
    assert loss["lora", "ddp"] < loss["lora", "pipeline"] < 0.1
    assert loss["lora", "tensor"] > 0.5
    assert loss["lora", "fsdp"] > loss["lora", "tensor"]
    assert loss["serve", "tensor"] < 0.1


def test_report_fits_80_columns(seven: AdviceReport) -> None:
    wide = [line for line in render_report(seven, explained=True).splitlines() if len(line) > 80]
    assert wide == []


def test_lines_have_no_trailing_blanks(seven: AdviceReport) -> None:
    assert [line for line in render_report(seven).splitlines() if line != line.rstrip()] == []


def test_report_names_what_does_not_fit_and_alternatives() -> None:
    text = " ".join(render_report(make_report("llama-2-70b", precision="int8")).split())
    assert "serving: does not fit: needs 23.0 of 21.6 GiB a GPU, at least (pipeline)" in text
    assert "can do int4: fits, 12.5 GiB a GPU" in text


def test_every_number_has_a_formula_and_a_source(seven: AdviceReport) -> None:
    text = " ".join(render_report(seven, explained=True).split())
    for form in ("ddp", "fsdp", "pipeline", "tensor", "sequence"):
        assert figures.formulas()[form].source in text
    for figure in figures.load().values():
        assert figure.name in text
        assert figure.kind in ("published", "assumed")
    assert "NCCL's figure a lane" in text
    assert "config.json" in text
    assert set(FORMS) <= set(figures.formulas())


def test_json_document_contains_the_whole_report(seven: AdviceReport) -> None:
    document = json.loads(json.dumps(explain.document(seven)))
    assert document["format"] == "deeprig-advice"
    (model,) = document["models"]
    (ddp,) = [c for c in model["candidates"] if (c["task"], c["form"]) == ("lora", "ddp")]
    assert len(ddp["links"]) == 16
    (sent,) = ddp["transfers"]
    assert sent["sent_bytes"] == pytest.approx(4 / 3 * sent["size_bytes"])
    assert sent["origin"] == "derived"
    assert ddp["step_seconds"] == pytest.approx(ddp["compute_seconds"] + ddp["exposed_seconds"])


def test_bifurcation_and_another_board_are_advised_with_their_gain(seven: AdviceReport) -> None:
    names = [advice.change.name for advice in seven.advice]
    assert names[:2] == ["bifurcation", "board"]
    split = seven.advice[0]
    assert split.change.rig.links == (Link(3, 4),) * 3
    assert "confidence C" in split.change.how
    assert split.most == pytest.approx(8, rel=0.05)  # Gen3 x4 carries eight times Gen2 x1
    assert split.fastest > 1.02


def test_pipeline_boundary_uses_its_own_link() -> None:
    """The narrow link is at one end: one of two boundaries is fast; a ring would be slow."""
    slow = make_report("llama-2-7b", links="gen2x1,gen3x16,gen3x16")
    worse = make_report("llama-2-7b", links="gen2x1,gen2x1,gen2x1")
    prompts = [
        row.now.prefill
        for advice in (slow, worse)
        for row in advice.models[0].rows
        if row.now and (row.candidate.task, row.candidate.layout.form) == ("serve", "pipeline")
    ]
    assert prompts[0] is not None
    assert prompts[1] is not None
    assert prompts[0] > prompts[1] * 1.02


def test_a_narrow_riser_in_a_wide_slot_is_named() -> None:
    gpus = [
        rigs.gpu([rigs.port(f"0000:00:0{n}.1", 1, 8.0), rigs.port(f"0000:0{n}:00.0", 1, 16.0)])
        for n in (1, 2)
    ]
    rig = machine.from_facts("attic", rigs.facts(*gpus))
    (change,) = [candidate for candidate in recommend.changes(rig) if candidate.name == "riser"]
    assert change.rig.links == (Link(3, 16), Link(3, 16))
    assert "GPU 0 Gen3 x16, GPU 1 Gen3 x16" in change.title
    advice = report.make_report(rig, [KNOWN["llama-2-7b"]], "bf16", Work(2048))
    assert advice.advice[0].change.name == "riser"


def test_riser_as_wide_as_its_slot_is_not_mentioned() -> None:
    path = [rigs.port("0000:00:01.1", 1, 5.0, maximum=1), rigs.port("0000:01:00.0", 1, 16.0)]
    rig = machine.from_facts("attic", rigs.facts(rigs.gpu(path)))
    assert "riser" not in [change.name for change in recommend.changes(rig)]


@pytest.mark.slow
def test_three_d_uses_eight_gpus_and_both_message_types() -> None:
    rig = machine.from_words("8x RTX 3090", "8x gen3x4", cpu="EPYC 7302")
    advice = report.make_report(rig, [KNOWN["gpt2"]], "bf16", Work(1024))
    (row,) = [
        row
        for row in advice.models[0].rows
        if (row.candidate.task, row.candidate.layout.form) == ("full", "three_d")
    ]
    assert row.now is not None
    assert {sent.what for sent in row.now.transfers} == {"activations", "gradients"}
    assert {sent.collective for sent in row.now.transfers} == {"sendrecv", "all_reduce"}
    assert row.loss(3, 1) > row.loss(3, 4) > 0


def test_wide_links_get_no_advice() -> None:
    rig = machine.from_words("2x RTX 3090", "gen4x16,gen4x16", cpu="EPYC 7302")
    advice = report.make_report(rig, [KNOWN["llama-2-7b"]], "bf16", Work(2048))
    assert {row.change.name for row in advice.advice} <= {"power"}


def test_mining_board_is_advised_to_be_replaced() -> None:
    rig = machine.from_words("3x RTX 3090", "3x gen2x1", "H110 Pro BTC+", "Celeron G3930")
    assert [change.name for change in recommend.changes(rig)] == ["board", "power"]


@pytest.mark.parametrize(
    ("board", "cpu", "gpus", "width"),
    [
        ("PRIME B250M-A", "Core i5-7500", 2, 0),  # "The processor's 16 lanes go to one slot."
        ("PRIME Z390-A", "Core i7-9700K", 3, 4),
        ("PRIME Z390-A", "Core i7-9700K", 4, 0),  # "Never x4x4x4x4."
        ("MEG B550 UNIFY-X", "Ryzen 5 5600X", 3, 4),
        ("MEG B550 UNIFY-X", "Ryzen 5 5600X", 4, 0),  # x8/x4/x4 is all that its manual has
        ("B450 TOMAHAWK", "Ryzen 5 1600", 4, 4),  # denied by one, claimed by others
        ("a board of no name", "Ryzen 5 1600", 4, 4),
        ("X10SRi-F", "Xeon E5-1650 v3", 5, 8),  # several slots: one's splits are not all
    ],
)
def test_only_supported_splits_are_advised(board: str, cpu: str, gpus: int, width: int) -> None:
    rig = machine.from_words(f"{gpus}x RTX 3090", f"{gpus}x gen2x1", board, cpu)
    widths = [
        {link.width for link in change.rig.links}
        for change in recommend.changes(rig)
        if change.name == "bifurcation"
    ]
    assert widths == ([{width}] if width else [])


def test_unconfirmed_split_is_advised_with_a_condition() -> None:
    claimed = machine.from_words("3x RTX 3090", "3x gen2x1", "B450 Steel Legend", "Ryzen 5 1600")
    documented = machine.from_words("3x RTX 3090", "3x gen2x1", "X570D4I-2T", "Ryzen 5 3600")
    titles = [
        change.title
        for rig in (claimed, documented)
        for change in recommend.changes(rig)
        if change.name == "bifurcation"
    ]
    assert ["if its BIOS can" in title for title in titles] == [True, False]


def test_single_gpu_report_says_that_links_do_not_matter() -> None:
    rig = machine.from_words("1x RTX 3060", "gen2x1")
    text = render_report(report.make_report(rig, [KNOWN["gpt2"]], "bf16", Work(1024)))
    assert "there is one GPU: nothing to share" in " ".join(text.split())
    assert "no change of links: there is one GPU" in text


def test_card_without_figures_gets_memory_predictions_only() -> None:
    rig = machine.from_words("2x P104-100", "2x gen1x4")
    advice = report.make_report(rig, [KNOWN["gpt2"]], "bf16", Work(1024))
    text = " ".join(render_report(advice).split())
    assert "the speed is unknown of P104-100: only memory is predicted" in text
    assert "fits: LoRA, DDP, " in text
    assert "tokens/s" not in text
    document = explain.document(advice)
    assert "step_seconds" not in json.dumps(document["models"])
    assert advice.advice == []


@pytest.mark.parametrize("suffix", [".svg", ".html"])
def test_a_plot_has_a_line_for_each_form(seven: AdviceReport, tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"lanes{suffix}"
    plot.plot_lanes(seven, file)
    text = file.read_text()
    assert text.count("<svg ") >= 3  # LoRA, QLoRA, serving
    for name in ("DDP", "FSDP", "pipeline", "tensor", "tensor, prompts"):
        assert f">{name}<" in text
    assert "<script" not in text


def test_slowdown_plot_has_only_forms_that_use_links(seven: AdviceReport) -> None:
    series = plot.slowdowns(seven.models[0], "lora", 3)
    forms = ("ddp", "fsdp", "pipeline", "tensor", "sequence")
    assert set(series) == {(form, False) for form in forms}
    assert all(values[-1] == pytest.approx(1) for values in series.values())
    assert series["fsdp", False][0] > 7.5
    assert ("tensor", True) in plot.slowdowns(seven.models[0], "serve", 3)


@pytest.mark.parametrize(
    ("name", "message"),
    [("lanes.png", "written as .svg or .html"), ("/none/x.svg", "the folder does not exist")],
)
def test_unwritable_plot_file_is_refused_first(name: str, message: str) -> None:
    with pytest.raises(DeeprigError) as raised:
        plot.check(name)
    assert message in raised.value.message


def test_board_advice_has_lanes_for_every_gpu() -> None:
    rig = rigs.seed("12x gen2x1", "12x RTX 3060")
    (board,) = [change for change in recommend.changes(rig) if change.name == "board"]
    assert "x8 for each of 12" in board.title
    assert board.rig.links == (Link(4, 8),) * 12


def test_board_advice_names_a_board_of_the_table() -> None:
    (three,) = [change for change in recommend.changes(rigs.seed()) if change.name == "board"]
    assert "X399 AORUS PRO" in three.how
    assert "ZENITH" not in three.how  # no more than a claim
    (twelve,) = [
        change
        for change in recommend.changes(rigs.seed("12x gen2x1", "12x RTX 3060"))
        if change.name == "board"
    ]
    assert "ROMED8-2T" in twelve.how


@pytest.mark.slow
def test_no_board_is_advised_if_none_has_enough_slots() -> None:
    rig = rigs.seed("64x gen2x1", "64x GTX 1080 Ti")
    assert report.make_report(rig, [KNOWN["gpt2"]], "fp32", Work(1024)).unknown
    assert not report.make_report(rigs.seed(), [KNOWN["gpt2"]], "fp32", Work(1024)).unknown


def test_cards_without_bfloat16_are_noted() -> None:
    rig = rigs.seed("2x gen3x1", "2x GTX 1080 Ti")
    assert (
        "no bfloat16" in report.make_report(rig, [KNOWN["gpt2"]], "bf16", Work(1024)).rig.notes[0]
    )
    assert report.make_report(rig, [KNOWN["gpt2"]], "fp32", Work(1024)).rig.notes == ()
    assert report.make_report(rigs.seed(), [KNOWN["gpt2"]], "bf16", Work(1024)).rig.notes == ()

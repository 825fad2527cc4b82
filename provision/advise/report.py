"""The report on a rig and its models: candidates, predictions by link, and recommendations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from provision.performance import alternatives, candidates, recommend
from provision.performance.alternatives import Alternative
from provision.performance.candidates import Candidate, Work
from provision.performance.machine import Machine
from provision.performance.models import LanguageModel
from provision.performance.predict import predict
from provision.performance.prediction import Prediction
from provision.performance.recommend import Advice

WIDTHS = (1, 4, 8, 16)
GENERATIONS = (1, 2, 3, 4, 5)  # 1: what risers are often forced to


@dataclass(frozen=True)
class Row:
    """A candidate, what it does now, and on each (generation, width) of all GPUs' links."""

    candidate: Candidate
    now: Prediction | None = None
    grid: Mapping[tuple[int, int], Prediction] = field(default_factory=dict)

    def loss(self, generation: int, width: int, prefill: bool = False) -> float:
        """Share of the speed on x16 of the same generation that is lost on fewer lanes."""
        return 1 - _speed(self.grid[generation, width], prefill) / _speed(
            self.grid[generation, 16], prefill
        )

    def loss_now(self, generation: int, prefill: bool = False) -> float:
        """Return the same of the links that the rig has, against x16 of a generation."""
        assert self.now is not None
        return 1 - _speed(self.now, prefill) / _speed(self.grid[generation, 16], prefill)


@dataclass(frozen=True)
class ModelReport:
    """Of one model. instead: what can be done in place of what does not fit."""

    model: LanguageModel
    rows: Sequence[Row]
    instead: Sequence[Alternative] = ()


@dataclass(frozen=True)
class AdviceReport:
    """Of a rig and models. generations: the rig's own first."""

    rig: Machine
    precision: str
    work: Work
    generations: tuple[int, ...]
    models: Sequence[ModelReport]
    advice: Sequence[Advice]

    @property
    def unknown(self) -> bool:
        """Whether there are GPUs enough to want lanes, and no way to more is known."""
        return len(self.rig.cards) > 1 and not any(recommend.changes(self.rig))


def make_report(
    rig: Machine, models: Sequence[LanguageModel], precision: str, work: Work
) -> AdviceReport:
    """Everything, of all models; without any time where a GPU's speed is not known."""
    if precision == "bf16" and (
        without := sorted({card.name for card in rig.cards if not card.bfloat16})
    ):
        note = f"{', '.join(without)}: no bfloat16, so 16 bit is float16 here, with loss scaling"
        rig = replace(rig, notes=(*rig.notes, note))
    if slow := sorted({card.name for card in rig.cards if not card.has_known_speed}):
        note = (
            f"the speed is unknown of {', '.join(slow)}: only memory is predicted. "
            "Add fp32_tflops and memory_gbps to inventory/hardware/gpus.yml"
        )
        rig = replace(rig, notes=(*rig.notes, note))
    own_generation = rig.generation
    generations = (
        own_generation,
        *(
            generation
            for generation in GENERATIONS
            if generation != own_generation and generation <= rig.fastest
        ),
    )
    reports = []
    for model in models:
        load = _fit_context(work, model)
        rows = [
            _row(candidate, rig, generations)
            for candidate in candidates.find_candidates(model, rig, precision, load)
        ]
        served = [row for row in rows if row.candidate.task == "serve"]
        instead: Sequence[Alternative] = ()
        if not any(row.candidate.fits for row in served):
            instead = alternatives.find_alternatives(model, rig, precision, load)
        reports.append(ModelReport(model, rows, instead))
    wanted = [row.candidate for report in reports for row in report.rows if row.now]
    return AdviceReport(rig, precision, work, generations, reports, recommend.advise(rig, wanted))


def _fit_context(work: Work, model: LanguageModel) -> Work:
    """Return no longer sequences than the model was trained for."""
    return Work(min(work.sequence, model.context), work.batch, work.accumulate, work.streams)


def _row(candidate: Candidate, rig: Machine, generations: Sequence[int]) -> Row:
    if not candidate.fits or not all(card.has_known_speed for card in rig.cards):
        return Row(candidate)
    grid = {
        (generation, width): predict(candidate, rig.uniform(generation, width), rig)
        for generation in generations
        for width in WIDTHS
    }
    return Row(candidate, predict(candidate, rig, rig), grid)


def _speed(prediction: Prediction, prefill: bool) -> float:
    return (prediction.prefill or 0.0) if prefill else prediction.tokens_per_second

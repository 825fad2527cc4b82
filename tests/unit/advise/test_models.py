"""The table of models, and numbers that are derived from a row."""

from __future__ import annotations

from pathlib import Path

import pytest

from provision.errors import DeeprigError, SourceError
from provision.performance import models
from provision.performance.models import LanguageModel

KNOWN = models.load()


@pytest.mark.parametrize("model", KNOWN.values(), ids=list(KNOWN))
def test_parameter_count_matches_the_published_number(model: LanguageModel) -> None:
    assert model.parameters > 0
    assert model.source
    assert model.total == model.parameters


def test_active_parameters_include_two_of_eight_experts() -> None:
    mixtral = KNOWN["mixtral-8x7b"]
    active = mixtral.total - mixtral.layers * (mixtral.layer - mixtral.layer_active)
    assert active == pytest.approx(12.9e9, rel=0.01)  # arXiv 2401.04088: "13B active"


def test_unknown_model_error_suggests_similar_names() -> None:
    with pytest.raises(DeeprigError) as raised:
        models.find("lama-2-70b", KNOWN)
    assert "unknown model 'lama-2-70b'" in raised.value.message
    assert "llama-2-70b" in raised.value.advice


def test_model_names_are_case_insensitive() -> None:
    assert models.find("Llama-2-7B", KNOWN) is KNOWN["llama-2-7b"]


FIELDS = "layers: 1, hidden: 8, heads: 2, kv_heads: 1, feed_forward: 4, vocabulary: 9, context: 4"


@pytest.mark.parametrize(
    ("row", "message", "advice"),
    [
        (FIELDS.replace("hidden", "hiden"), "unknown field 'hiden'", "Did you mean hidden?"),
        (FIELDS.replace("layers: 1, ", ""), "'layers' is missing", ""),
        (FIELDS.replace("layers: 1", "layers: many"), "'layers' should be int", ""),
        (FIELDS.replace("layers: 1", "layers: 0"), "layers should be 1 or more", ""),
        (FIELDS.replace("kv_heads: 1", "kv_heads: 3"), "2 heads can't share 3 kv_heads", ""),
        (FIELDS.replace("hidden: 8", "hidden: 9"), "2 heads can't share 9 of hidden size", ""),
        (f"{FIELDS}, experts: 4", "top_k should be between 1 and its 4 experts", ""),
        (f"{FIELDS}, tied: 1", "'tied' should be bool", ""),
    ],
)
def test_invalid_row_is_an_error_with_advice(
    tmp_path: Path, row: str, message: str, advice: str
) -> None:
    file = tmp_path / "models.yml"
    file.write_text(f"models:\n  mine: {{{row}}}\n")
    with pytest.raises(DeeprigError) as raised:
        models.load(file)
    assert message in raised.value.message
    assert advice in raised.value.advice
    if isinstance(raised.value, SourceError):
        assert raised.value.position is not None
        assert raised.value.position.line == 2

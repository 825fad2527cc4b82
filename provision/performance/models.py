"""Transformer models: what each has of parameters. Table: inventory/models/language.yml."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from provision.errors import DeeprigError
from provision.inventory import typed_rows, yaml_source
from provision.paths import INVENTORY

MOST_LAYERS = 1000  # ten times what the deepest models have
TABLE = INVENTORY / "models" / "language.yml"


@dataclass(frozen=True)
class LanguageModel:
    """A decoder; the fields are those of the table, which explains them. Counts are of parameters.

    The sums follow the published layers: Llama (arXiv 2302.13971), GPT-2 (its report), Mixtral
    (2401.04088). A test compares each row's sum with the number that its authors publish.
    """

    name: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    feed_forward: int
    vocabulary: int
    context: int
    title: str = ""
    head_size: int = 0
    gated: bool = True
    norm: str = "rms"
    biases: str = "none"
    positions: str = "rotary"
    tied: bool = False
    qk_norm: bool = False
    experts: int = 0
    top_k: int = 0
    parameters: int = 0
    source: str = ""

    def __post_init__(self) -> None:
        for name in ("layers", "hidden", "heads", "kv_heads", "feed_forward", "vocabulary"):
            if getattr(self, name) < 1:
                raise DeeprigError(f"model {self.name}: {name} should be 1 or more")
        if self.layers > MOST_LAYERS:
            raise DeeprigError(
                f"model {self.name}: {self.layers} layers are more than {MOST_LAYERS}"
            )
        if self.head < 1 or (not self.head_size and self.hidden % self.heads):
            raise DeeprigError(
                f"model {self.name}: {self.heads} heads can't share {self.hidden} of hidden size"
            )
        if self.heads % self.kv_heads:
            raise DeeprigError(
                f"model {self.name}: {self.heads} heads can't share {self.kv_heads} kv_heads"
            )
        if self.experts and not 1 <= self.top_k <= self.experts:
            raise DeeprigError(
                f"model {self.name}: top_k should be between 1 and its {self.experts} experts"
            )

    @property
    def head(self) -> int:
        """Elements of one attention head."""
        return self.head_size or self.hidden // self.heads

    @property
    def attention(self) -> int:
        """Of the four matrices of a layer's attention."""
        return self.hidden * self.head * (2 * self.heads + 2 * self.kv_heads)

    @property
    def expert(self) -> int:
        """Of one expert's matrices; in a dense model, of the layer's one feed-forward network."""
        return (3 if self.gated else 2) * self.hidden * self.feed_forward

    @property
    def small(self) -> int:
        """Of a layer's norms, biases and router."""
        norms = 2 * self.hidden * (2 if self.norm == "layer" else 1)
        if self.qk_norm:
            norms += 2 * self.head
        biases = 0
        if self.biases in ("qkv", "all"):
            biases += self.head * (self.heads + 2 * self.kv_heads)
        if self.biases == "all":
            biases += self.hidden + self.feed_forward + self.hidden
        return norms + biases + self.experts * self.hidden

    @property
    def layer(self) -> int:
        """Of one layer, all experts included."""
        return self.attention + self.small + max(self.experts, 1) * self.expert

    @property
    def layer_active(self) -> int:
        """Of one layer, those that one token passes."""
        return self.attention + self.small + (self.top_k if self.experts else 1) * self.expert

    @property
    def embedding(self) -> int:
        """Of the embedding, and of learned positions."""
        learned = self.context * self.hidden if self.positions == "learned" else 0
        return self.vocabulary * self.hidden + learned

    @property
    def output(self) -> int:
        """Of the matrix before the vocabulary (the head), also where it is the embedding's."""
        return self.vocabulary * self.hidden

    @property
    def total(self) -> int:
        """All parameters."""
        final = self.hidden * (2 if self.norm == "layer" else 1)
        head = 0 if self.tied else self.output
        return self.layers * self.layer + self.embedding + head + final


def load(path: Path = TABLE) -> dict[str, LanguageModel]:
    """Return the table, by name. Raises SourceError."""
    rows = yaml_source.load_yaml(path)["models"]
    return {
        str(name): typed_rows.read_row(LanguageModel, fields, name=str(name))
        for name, fields in rows.items()
    }


def find(name: str, table: dict[str, LanguageModel]) -> LanguageModel:
    """Return a model by its name, in any letter case. Raises DeeprigError with suggestions."""
    for key, model in table.items():
        if key.lower() == name.strip().lower():
            return model
    raise typed_rows.unknown_name_error("model", name, table)

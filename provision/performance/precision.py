"""Bytes that a parameter takes, by task and precision: weight, gradient, optimizer, messages."""

from __future__ import annotations

from dataclasses import dataclass

from provision.performance import figures

PRECISIONS = ("fp32", "bf16", "int8", "int4")
#: What can be done with a model, in the order of what it takes.
TASKS = {"full": "training", "lora": "LoRA", "qlora": "QLoRA", "serve": "serving"}


@dataclass(frozen=True)
class BytesPerParameter:
    """Of one parameter.

    weight: of a matrix inside a layer; outer: of embedding, head, norms, which are never quantized.
    gradient and optimizer: of a parameter that is trained (AdamW's two moments; a master copy in
    single precision beside 16-bit weights: 16 in all, ZeRO, arXiv 1910.02054, section 3.1).
    activation: of an element of activations, in memory and in messages.
    """

    weight: float
    outer: float
    gradient: float
    optimizer: float
    activation: float


def check(task: str, precision: str) -> str:
    """Return why a task can't be done in a precision; empty when it can."""
    if task == "full" and precision in ("int8", "int4"):
        return f"weights in {precision} can't be trained; LoRA on them can"
    if task == "lora" and precision == "int4":
        return "LoRA on 4-bit weights is QLoRA"
    return ""


def bytes_per_parameter(task: str, precision: str) -> BytesPerParameter:
    """Return the bytes of a task in a precision that `check` allows; QLoRA's weights are 4-bit.

    >>> bytes_per_parameter("full", "bf16")
    BytesPerParameter(weight=2.0, outer=2.0, gradient=2.0, optimizer=12.0, activation=2.0)
    """
    if task == "qlora":
        precision = "int4"
    weight = {
        "fp32": 4.0,
        "bf16": 2.0,
        "int8": figures.value("int8_bits") / 8,
        "int4": figures.value("int4_bits") / 8,
    }[precision]
    wide = 4.0 if precision == "fp32" else 2.0
    if task == "serve":
        return BytesPerParameter(weight, wide, 0.0, 0.0, wide)
    if task == "full":
        return BytesPerParameter(weight, wide, wide, 8.0 if precision == "fp32" else 12.0, wide)
    # Adapters are kept and trained in single precision: 4 bytes of weight are counted with its
    # optimizer (PEFT's default, autocast_adapter_dtype).
    return BytesPerParameter(weight, wide, 4.0, 12.0, wide)

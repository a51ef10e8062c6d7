"""The float model as teacher: how far answers are from its own. It imports TensorFlow."""

from __future__ import annotations

from graphquant_core.graph.distillation.loss import distillation_loss
from graphquant_core.graph.distillation.outputs import (
    LOGITS,
    SCORES,
    VALUES,
    Output,
    check_answers,
    describe_outputs,
    distance,
)

__all__ = [
    "LOGITS",
    "SCORES",
    "VALUES",
    "Output",
    "check_answers",
    "describe_outputs",
    "distance",
    "distillation_loss",
]

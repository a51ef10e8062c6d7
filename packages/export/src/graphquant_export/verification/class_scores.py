"""Which outputs of a model are scores of classes, so that the largest one is what counts."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import tensorflow as tf

from graphquant_core.exceptions import ConfigError
from graphquant_core.graph.frozen import tensor_name
from graphquant_core.suggestions import closest

_SCORES = ("Softmax", "LogSoftmax")
_SAME = ("Cast", "Identity", "StopGradient")


def class_outputs(
    graph: tf.Graph,
    outputs: Sequence[str],
    labelled: Collection[str],
    told: Sequence[str] | None,
) -> frozenset[str]:
    """Names of those of `outputs` that are class scores.

    Args:
        graph: The frozen graph.
        outputs: Names of its outputs.
        labelled: Those that there are labels for.
        told: What the user says; by default the labelled ones, and what a softmax returns.

    Raises:
        ConfigError: `told` names no output.
    """
    if told is None:
        found = {name for name in outputs if _returns_scores(graph.get_operation_by_name(name))}
        return frozenset(found | set(labelled))
    if isinstance(told, str):
        raise ConfigError(f'classes ("{told}") must be a list of outputs')
    names = [tensor_name(str(name)) for name in told]
    for name in names:
        if name not in outputs:
            hint = closest(name, outputs)
            raise ConfigError(f'classes: "{name}" is no output of the model{hint}')
    return frozenset(names)


def _returns_scores(op: tf.Operation) -> bool:
    while op.type in _SAME or _keeps_last_axis(op):
        op = op.inputs[0].op
    return op.type in _SCORES


def _keeps_last_axis(op: tf.Operation) -> bool:
    if op.type not in ("Reshape", "Squeeze"):
        return False
    before, after = op.inputs[0].shape, op.outputs[0].shape
    return bool(before.rank and after.rank and before[-1] is not None and before[-1] == after[-1])

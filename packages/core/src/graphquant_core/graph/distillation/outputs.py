"""What the outputs of a model are, and how far two models' answers are apart."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.exceptions import NonFiniteError
from graphquant_core.graph.affine import SHAPING_TYPES

TEMPERATURE = 2.0
"""Of the softmax whose answers are compared; 1 and 4 taught no better."""
SCORES, LOGITS, VALUES = "class scores", "logits", "values"
_PASSED = SHAPING_TYPES | {"FakeQuantWithMinMaxArgs", "FakeQuantWithMinMaxVars"}
"""Types of ops behind which an output is still what it is in front of them."""


@attrs.frozen(eq=False)
class Output:
    """An output of the model.

    Attributes:
        name: Name of its op.
        kind: ``"class scores"`` behind a softmax, ``"logits"`` for rows that a layer gives, and
            ``"values"`` for all else.
        compared: Name of the tensor that is compared: what the softmax takes.
    """

    name: str
    kind: str
    compared: str


def describe_outputs(graph: tf.Graph, names: Sequence[str]) -> tuple[Output, ...]:
    """What each of the ops called `names` gives.

    An output that is no float is left out: there is nothing to learn from it.
    """
    found = []
    for name in names:
        tensor = graph.get_operation_by_name(name).outputs[0]
        if tensor.dtype != tf.float32:
            continue
        source = tensor
        while source.op.type in _PASSED:
            source = source.op.inputs[0]
        if source.op.type in ("Softmax", "LogSoftmax"):
            found.append(Output(name, SCORES, source.op.inputs[0].name))
        elif source.op.type in ("BiasAdd", "MatMul") and _has_classes(source):
            found.append(Output(name, LOGITS, tensor.name))
        else:
            found.append(Output(name, VALUES, tensor.name))
    return tuple(found)


def _has_classes(tensor: tf.Tensor) -> bool:
    return bool(tensor.shape.rank == 2 and (tensor.shape[-1] or 0) >= 2)


def check_answers(outputs: Sequence[Output], answers: Sequence[npt.NDArray[np.float32]]) -> None:
    """Returns when the float model's `answers` are numbers, so that something can be near them.

    Raises:
        NonFiniteError: One is NaN or infinite; names the output.
    """
    for output, values in zip(outputs, answers, strict=True):
        if not np.isfinite(values).all():
            raise NonFiniteError(
                f'the output "{output.name}" of the float model is NaN or infinite on samples: '
                "look for samples that the model cannot take"
            )


def distance(output: Output, teacher: tf.Tensor, student: tf.Tensor) -> tf.Tensor:
    """How far the student's answers are from the teacher's: a float32 scalar.

    T^2 KL(softmax(t / T) || softmax(s / T)) for class scores, Σ (t - s)² / Σ (t - mean(t))² for
    values, and the sum of both for logits, whose absolute values may count.

    Args:
        output: What the two are.
        teacher: The float model's answers, t.
        student: The other's, s; same shape.

    Source: Hinton et al., Distilling the Knowledge in a Neural Network, 2015.
    """
    if output.kind == SCORES:
        return _divergence(teacher, student)
    error = _relative_error(teacher, student)
    return error + _divergence(teacher, student) if output.kind == LOGITS else error


def _divergence(teacher: tf.Tensor, student: tf.Tensor) -> tf.Tensor:
    wanted = tf.nn.log_softmax(teacher / TEMPERATURE)
    given = tf.nn.log_softmax(student / TEMPERATURE)
    rows = tf.reduce_sum(tf.exp(wanted) * (wanted - given), axis=-1)
    return tf.reduce_mean(rows) * TEMPERATURE**2


def _relative_error(teacher: tf.Tensor, student: tf.Tensor) -> tf.Tensor:
    centred = teacher - tf.reduce_mean(teacher, axis=0, keepdims=True)
    power = tf.reduce_sum(tf.square(centred))
    return tf.math.divide_no_nan(tf.reduce_sum(tf.square(teacher - student)), power)

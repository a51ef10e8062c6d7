"""A loss that draws the answers of a model that is trained to those of the float model."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import tensorflow as tf

from graphquant_core.exceptions import ConfigError, OutputNotFoundError
from graphquant_core.graph.affine import SHAPING_TYPES
from graphquant_core.graph.distillation.outputs import (
    LOGITS,
    SCORES,
    Output,
    describe_outputs,
    distance,
)
from graphquant_core.graph.distillation.placing import place_teacher
from graphquant_core.graph.distillation.teacher import teacher_graph_def
from graphquant_core.graph.frozen.outputs import check_outputs
from graphquant_core.graph.guards import check_extensible
from graphquant_core.graph.view import GraphView
from graphquant_core.listing import brief_repr
from graphquant_core.suggestions import closest

v1 = tf.compat.v1

_SCORED = frozenset(
    {
        "Softmax",
        "LogSoftmax",
        "SoftmaxCrossEntropyWithLogits",
        "SparseSoftmaxCrossEntropyWithLogits",
    }
)
"""Ops that take class scores."""


def distillation_loss(
    teacher: str | os.PathLike[str] | tf.compat.v1.GraphDef | tf.Graph,
    outputs: Sequence[str] | Mapping[str, tf.Tensor | str],
    *,
    checkpoint: str | os.PathLike[str] | None = None,
    inputs: Mapping[str, Any] | None = None,
    graph: tf.Graph | None = None,
) -> tf.Tensor:
    """How far the answers of `graph` are from the float model's: a float32 scalar for the loss.

    The mean over the outputs of T² KL(softmax(t / T) || softmax(s / T)), T = 2, for class scores,
    and of Σ (t - s)² / Σ (t - mean(t))² for other values; t are the teacher's answers, s those of
    `graph`. The teacher is placed in `graph`, as constants below the scope ``distillation``: it
    isn't trained, no checkpoint holds it, no quantiser touches it, and what is frozen for the
    outputs of the model leaves it behind. Call it before the optimizer is made; before or after
    the graph is quantised.

    Args:
        teacher: The float model for inference: a frozen graph or its file, or the graph that it is
            built in.
        outputs: Names of its output ops, which `graph` has as well; or a dict with the tensor of
            `graph`, or its name, by each. Behind a softmax, what the softmax takes is compared;
            the tensor of `graph` may then be the logits.
        checkpoint: Prefix of the checkpoint with its variables, where `teacher` is a tf.Graph.
        inputs: Tensors of `graph`, their names, or values, by the names of the teacher's inputs
            that aren't called alike in `graph`, such as ``{"keep_prob": 1.0}``; or of other ops,
            such as an iterator's, that they stand for.
        graph: The training graph; the default one when ``None``.

    Raises:
        ConfigError: An argument has a wrong value, or an input or output doesn't fit.
        UnknownNameError, OutputNotFoundError: There is no such input or output; names the closest.
        ModelFileError: `teacher` or `checkpoint` can't be read, or the teacher isn't frozen.
        FinalizedGraphError: `graph` is finalised.

    Source: Hinton et al., Distilling the Knowledge in a Neural Network, 2015.
    """
    graph = v1.get_default_graph() if graph is None else graph
    if not isinstance(graph, tf.Graph):
        raise ConfigError(f"graph ({type(graph).__name__}) must be a tf.Graph")
    check_extensible(GraphView(graph))
    if inputs is not None and not isinstance(inputs, Mapping):
        raise ConfigError(
            f"inputs ({brief_repr(inputs)}) must be a dict by the names of the teacher's inputs"
        )
    wanted = list(outputs) if isinstance(outputs, Mapping) else outputs
    frozen = teacher_graph_def(teacher, wanted, checkpoint)
    names = check_outputs(frozen, wanted)
    given = dict(outputs) if isinstance(outputs, Mapping) else {}
    students = {name: _student(graph, name, _given(given, name)) for name in names}
    with graph.as_default(), v1.name_scope("distillation"):
        placed = place_teacher(graph, frozen, names, inputs or {})
        described = describe_outputs(graph, placed)
        losses = [
            _distance(graph, output, students[name])
            for name, output in zip(names, _all_floats(names, placed, described), strict=True)
        ]
        return tf.identity(tf.add_n(losses) / len(losses), name="loss")


def _given(given: Mapping[str, tf.Tensor | str], name: str) -> tf.Tensor | str:
    return given.get(name, given.get(f"{name}:0", name))


def _student(graph: tf.Graph, name: str, given: Any) -> tf.Tensor:
    """The tensor of `graph` that is to be near the teacher's output called `name`."""
    if isinstance(given, str):
        try:
            return graph.get_tensor_by_name(given if ":" in given else f"{given}:0")
        except (KeyError, ValueError):
            known = [op.name for op in graph.get_operations() if op.outputs]
            raise OutputNotFoundError(
                f'outputs: the graph has no "{given}"{closest(given, known)}; a dict says which '
                f'tensor of it belongs to the teacher\'s "{name}"'
            ) from None
    if not tf.is_tensor(given) or given.graph is not graph:
        raise ConfigError(
            f'outputs["{name}"] ({brief_repr(given)}) must be a tensor of the graph, or its name'
        )
    return given


def _all_floats(
    names: Sequence[str], placed: Sequence[str], described: Sequence[Output]
) -> list[Output]:
    found = {output.name: output for output in described}
    for name, at in zip(names, placed, strict=True):
        if at not in found:
            raise ConfigError(f'outputs: the teacher\'s "{name}" is no float32: name what it is of')
    return [found[at] for at in placed]


def _distance(graph: tf.Graph, output: Output, student: tf.Tensor) -> tf.Tensor:
    wanted = tf.stop_gradient(graph.get_tensor_by_name(output.compared))
    scored = output.kind == SCORES or (output.kind == LOGITS and _gives_scores(student))
    own = describe_outputs(graph, [student.op.name])
    behind = student.value_index == 0 and own and own[0].kind == SCORES
    given = graph.get_tensor_by_name(own[0].compared) if behind else student
    if given.dtype != tf.float32 or not given.shape.is_compatible_with(wanted.shape):
        raise ConfigError(
            f'outputs: "{given.name}" ({given.dtype.name} {given.shape}) cannot be compared with '
            f'the teacher\'s "{output.name}" ({wanted.dtype.name} {wanted.shape})'
        )
    return distance(attrs.evolve(output, kind=SCORES) if scored else output, wanted, given)


def _gives_scores(tensor: tf.Tensor) -> bool:
    """Whether a softmax, or the loss of one, takes `tensor`: nothing but differences counts."""
    takers = tensor.consumers()
    return any(
        op.type in _SCORED
        or (op.type in SHAPING_TYPES | {"Reshape"} and _gives_scores(op.outputs[0]))
        for op in takers
    )

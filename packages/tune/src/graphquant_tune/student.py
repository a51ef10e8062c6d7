"""The graph that is trained: the model with variables, beside the float model that teaches it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_tune.folded import FoldedModel
from graphquant_tune.norms import Moments, Norm, normalised_layers, with_norms
from graphquant_tune.outputs import Output, describe_outputs, distance

v1 = tf.compat.v1
Float32Array = npt.NDArray[np.float32]
TEACHER, TRAINED = "teacher", "trained"


@attrs.frozen(eq=False)
class Student:
    """A graph with the model in training mode under its own names, and the float model.

    Attributes:
        graph: The graph.
        model: The folded model whose constants are variables.
        norms: The batch norms that stand for biases.
        variables: The variables, by the names of the constants.
        losses: The distance of each output from the teacher's.
        loss: Their mean, float32 scalar.
    """

    graph: tf.Graph
    model: FoldedModel
    norms: tuple[Norm, ...]
    variables: Mapping[str, tf.Variable]
    losses: tuple[tf.Tensor, ...]
    loss: tf.Tensor

    def statistics(self) -> list[tuple[tf.Tensor, tf.Tensor]]:
        """(mean, variance) of the batch, of each of `norms`."""
        ops = [self.graph.get_operation_by_name(norm.node) for norm in self.norms]
        return [(op.outputs[1], op.outputs[2]) for op in ops]


def build_student(
    model: FoldedModel, moments: Moments, start: Mapping[str, Float32Array] | None = None
) -> Student:
    """`model` with a variable for each weight and bias, beside itself as teacher.

    Args:
        model: The float model.
        moments: Mean and variance of the layers that get a batch norm.
        start: Values that constants start from instead of their own.
    """
    layers = [layer for layer in normalised_layers(model) if layer.name in moments]
    graph_def, norms = with_norms(model, layers, moments)
    trained = _trained(model, norms)
    values = {
        node.name: tf.make_ndarray(node.attr["value"].tensor)
        for node in graph_def.node
        if node.name in trained
    }
    values |= {name: value for name, value in (start or {}).items() if name in trained}
    with tf.Graph().as_default() as graph:
        variables = import_with_variables(graph_def, values)
        inputs = {
            f"{node.name}:0": graph.get_tensor_by_name(f"{node.name}:0")
            for node in graph_def.node
            if node.op.startswith("Placeholder")
        }
        tf.import_graph_def(model.graph_def, inputs, name=TEACHER)
        outputs = describe_outputs(graph, model.outputs)
        losses = tuple(_distance(graph, output) for output in outputs)
        loss = tf.add_n(losses) / len(losses)
    return Student(graph, model, norms, variables, losses, loss)


def import_with_variables(
    graph_def: tf.compat.v1.GraphDef, values: Mapping[str, Float32Array]
) -> dict[str, tf.Variable]:
    """Imports `graph_def` with a variable of each value for the constant called so; returns them.

    Their names begin with ``trained/``: those of the graph's ops must be free when it is imported.
    """
    variables = {
        name: v1.get_variable(f"{TRAINED}/{name}", initializer=value, use_resource=True)
        for name, value in values.items()
    }
    given = {f"{name}:0": tf.identity(variable) for name, variable in variables.items()}
    tf.import_graph_def(graph_def, given, name="")
    return variables


def _trained(model: FoldedModel, norms: Sequence[Norm]) -> set[str]:
    normalised = {norm.layer.bias for norm in norms}
    names = {layer.weight for layer in model.layers}
    names |= {layer.bias for layer in model.layers if layer.bias and layer.bias not in normalised}
    return names | {name for norm in norms for name in (norm.gamma, norm.beta)}


def _distance(graph: tf.Graph, output: Output) -> tf.Tensor:
    teacher = graph.get_tensor_by_name(f"{TEACHER}/{output.compared}")
    student = graph.get_tensor_by_name(output.compared)
    return distance(output, tf.stop_gradient(teacher), student)

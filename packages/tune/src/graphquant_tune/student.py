"""The graph that is trained: the model with variables, and the answers that it is to give."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import attrs
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.graph.distillation import describe_outputs, distance
from graphquant_tune.folded import FoldedModel
from graphquant_tune.norms import Moments, Norm, normalised_layers, with_norms

v1 = tf.compat.v1
Float32Array = npt.NDArray[np.float32]
TRAINED = "trained"


@attrs.frozen(eq=False)
class Student:
    """A graph with the model in training mode under its own names.

    Attributes:
        graph: The graph.
        model: The folded model whose constants are variables.
        norms: The batch norms that stand for biases.
        variables: The variables, by the names of the constants.
        answers: Placeholders of what the float model answers, one for each output.
        loss: Mean distance of the outputs from these answers, float32 scalar.
    """

    graph: tf.Graph
    model: FoldedModel
    norms: tuple[Norm, ...]
    variables: Mapping[str, tf.Variable]
    answers: tuple[tf.Tensor, ...]
    loss: tf.Tensor

    def statistics(self) -> list[tuple[tf.Tensor, tf.Tensor]]:
        """(mean, variance) of the batch, of each of `norms`."""
        ops = [self.graph.get_operation_by_name(norm.node) for norm in self.norms]
        return [(op.outputs[1], op.outputs[2]) for op in ops]

    def quantised_weights(self, layers: Collection[str]) -> dict[str, tf.Tensor]:
        """What `layers` take for their weights, by the names of the constants."""
        found = {}
        for layer in self.model.layers:
            if layer.name in layers:
                port = layer.layer.weight_port
                assert port is not None
                found[layer.weight] = self.graph.get_operation_by_name(layer.name).inputs[port]
        return found


def build_student(
    model: FoldedModel,
    quantised: Collection[str],
    moments: Moments,
    start: Mapping[str, Float32Array] | None = None,
) -> Student:
    """`model` with a variable for each weight and bias of the layers called `quantised`.

    Layers that stay float keep their values: what is fixed by design, such as a Fourier transform
    in front of a logarithm, breaks when it is trained.

    Args:
        model: The float model.
        quantised: Names of the layers that are trained.
        moments: Mean and variance of those of them that get a batch norm.
        start: Values that constants start from instead of their own.
    """
    layers = [layer for layer in normalised_layers(model) if layer.name in moments]
    graph_def, norms = with_norms(model, layers, moments)
    trained = _trained(model, quantised, norms)
    values = {
        node.name: tf.make_ndarray(node.attr["value"].tensor)
        for node in graph_def.node
        if node.name in trained
    }
    values |= {name: value for name, value in (start or {}).items() if name in trained}
    with tf.Graph().as_default() as graph:
        variables = import_with_variables(graph_def, values)
        outputs = describe_outputs(graph, model.outputs)
        given = [graph.get_tensor_by_name(output.compared) for output in outputs]
        answers = tuple(v1.placeholder(tf.float32, tensor.shape) for tensor in given)
        losses = [distance(*row) for row in zip(outputs, answers, given, strict=True)]
        loss = tf.add_n(losses) / len(losses)
    return Student(graph, model, norms, variables, answers, loss)


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


def _trained(model: FoldedModel, quantised: Collection[str], norms: Sequence[Norm]) -> set[str]:
    normalised = {norm.layer.bias for norm in norms}
    layers = [layer for layer in model.layers if layer.name in quantised]
    names = {layer.weight for layer in layers}
    names |= {layer.bias for layer in layers if layer.bias and layer.bias not in normalised}
    return names | {name for norm in norms for name in (norm.gamma, norm.beta)}

"""The contract of a layer handler, as one check that plugin authors run on a graph of theirs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.channels import per_channel_shape
from graphquant_core.graph.planner import description_problem
from graphquant_core.handler import LayerHandler
from graphquant_core.layer import Layer
from graphquant_core.listing import either

TOLERANCE = 1e-4


def check_handler(handler: LayerHandler, graph: tf.Graph, seed: int = 0) -> list[Layer]:
    """The layers that `handler` describes in `graph`, once each description is shown to be true.

    It runs every described op on random values and compares (relative tolerance 1e-4):

    - f(2 x, w) = 2 f(x, w) and f(x, 2 w) = 2 f(x, w): the op is linear in both ports;
    - f(x, w * s) = f(x, w) * s for a vector s over the weight's channel axes, which multiplies
      the output along its channel axis: the axes are right, and in the right order;
    - f(x * s, w) = f(x, w * s) for a vector s over the channels of the activation and the weight's
      input axis, if it has one.

    It also checks that describing doesn't change the graph. Unknown sizes, such as the batch,
    are 2.

    Raises:
        AssertionError: The contract is broken; names the op and what is wrong.
    """
    candidates = [op for op in graph.get_operations() if op.type in handler.op_types]
    assert candidates, f"the graph has no op of type {either(sorted(handler.op_types))}"
    before = graph.as_graph_def().SerializeToString(deterministic=True)
    layers = []
    for op in candidates:
        described = handler.describe(op)
        problem = description_problem(op, described)
        assert problem is None, f"{op.name}: {problem}"
        assert handler.describe(op) == described, f"{op.name}: described differently a second time"
        if isinstance(described, Layer):
            layers.append(described)
    after = graph.as_graph_def().SerializeToString(deterministic=True)
    assert before == after, f'handler "{handler.name}" changed the graph'
    with tf.compat.v1.Session(graph=graph) as session:
        session.run([op for op in graph.get_operations() if op.name.endswith("/Assign")])
        for layer in layers:
            _check_bilinear(session, layer, np.random.default_rng(seed))
    return layers


def _check_bilinear(
    session: tf.compat.v1.Session, layer: Layer, random: np.random.Generator
) -> None:
    op = session.graph.get_operation_by_name(layer.name)
    activation = op.inputs[layer.activation_port]
    x = random.normal(size=[size or 2 for size in activation.shape.as_list()]).astype(np.float32)
    # Other ports, such as the sizes of a transposed convolution, may look at the batch.
    feeds = {
        placeholder: np.zeros(
            [size or 2 for size in placeholder.shape.as_list()], placeholder.dtype.as_numpy_dtype
        )
        for placeholder in _placeholders(session.graph)
    }

    def run(values: npt.NDArray[np.float32], weight: npt.NDArray[np.float32] | None) -> np.ndarray:
        fed = feeds | {activation: values}
        if weight is not None and layer.weight_port is not None:
            fed[op.inputs[layer.weight_port]] = weight
        return session.run(op.outputs[0], fed)

    if layer.weight_port is None or layer.weight_shape is None:
        _check_close(run(2 * x, None), 2 * run(x, None), f"{layer.name}: not linear in port 0")
        return
    weight = random.normal(size=layer.weight_shape).astype(np.float32)
    result = run(x, weight)
    _check_close(run(2 * x, weight), 2 * result, f"{layer.name}: not linear in its activation")
    _check_close(run(x, 2 * weight), 2 * result, f"{layer.name}: not linear in its weight")
    scale = random.uniform(1, 3, layer.output_channels or 0).astype(np.float32)
    scaled = weight * scale.reshape(
        per_channel_shape(layer.weight_shape, layer.weight_channel_axes)
    )
    along = [1] * result.ndim
    along[layer.output_channel_axis] = -1
    _check_close(
        run(x, scaled),
        result * scale.reshape(along),
        f"{layer.name}: weight_channel_axes {layer.weight_channel_axes} don't match output axis "
        f"{layer.output_channel_axis}",
    )
    if layer.weight_input_axis is None:
        return
    scale = random.uniform(1, 3, layer.weight_shape[layer.weight_input_axis]).astype(np.float32)
    along, along_weight = [1] * x.ndim, [1] * weight.ndim
    along[layer.input_channel_axis] = along_weight[layer.weight_input_axis] = -1
    _check_close(
        run(x * scale.reshape(along), weight),
        run(x, weight * scale.reshape(along_weight)),
        f"{layer.name}: weight_input_axis {layer.weight_input_axis} doesn't match input axis "
        f"{layer.input_channel_axis}",
    )


def _placeholders(graph: tf.Graph) -> list[tf.Tensor]:
    return [op.outputs[0] for op in graph.get_operations() if op.type == "Placeholder"]


def _check_close(actual: np.ndarray, expected: np.ndarray, message: str) -> None:
    limit = TOLERANCE * max(float(np.abs(expected).max()), 1e-30)
    assert actual.shape == expected.shape, f"{message}: {actual.shape} and {expected.shape}"
    assert float(np.abs(actual - expected).max()) <= limit, message

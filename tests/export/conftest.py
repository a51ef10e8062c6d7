"""Small models with every kind of layer, and the rewrite that training makes to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs
import numpy as np
import pytest
import tensorflow as tf

from graphquant_core.channels import per_channel_shape
from graphquant_core.graph import Rewrite, plan_graph
from graphquant_core.graph.rewire import (
    ACTIVATION_INPUT,
    ACTIVATION_OUTPUT,
    WEIGHT_INPUT,
    WEIGHT_OUTPUT,
    mark,
)
from graphquant_core.record import LayerFactors, Record, format_record, parse_record

v1 = tf.compat.v1

EPSILON = 1e-3
WEIGHT_SHAPES = {
    "Conv2D": ((3, 3, 4, 6), (3,)),
    "DepthwiseConv2dNative": ((3, 3, 4, 2), (2, 3)),
    "Conv2DBackpropInput": ((3, 3, 6, 4), (2,)),
    "MatMul": ((16, 6), (1,)),
}


@attrs.frozen(eq=False)
class LayerModel:
    """One layer and what stands behind it; its truth is `factor` and `bias` per channel."""

    graph_def: Any
    op_type: str
    data_format: str
    weight: np.ndarray
    axes: tuple[int, ...]
    factor: np.ndarray
    bias: np.ndarray
    x: np.ndarray

    @property
    def name(self) -> str:
        """Name of the layer."""
        return "block/layer"

    def record(self, scale_d: float = 0.03, offset_d: int = -7) -> Record:
        """A record whose weight scales reach the largest folded weight of each channel."""
        folded = self.weight * self.factor.reshape(per_channel_shape(self.weight.shape, self.axes))
        others = tuple(a for a in range(folded.ndim) if a not in self.axes)
        scale_w = np.abs(folded).max(axis=others).reshape(-1) / 127
        return Record({self.name: LayerFactors(scale_d, offset_d, scale_w)})

    def run(self, x: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """The op of the layer in float64, on channels-last data."""
        if self.op_type == "MatMul":
            return x @ weight
        with tf.Graph().as_default(), v1.Session() as session:
            x = tf.constant(x, tf.float64)
            weight = tf.constant(weight, tf.float64)
            return session.run(_apply(self.op_type, x, weight, "NHWC"))


def _apply(op_type: str, x: tf.Tensor, weight: Any, data_format: str) -> tf.Tensor:
    if op_type == "MatMul":
        return tf.matmul(x, weight, name="layer")
    options = {"padding": "SAME", "data_format": data_format, "name": "layer"}
    if op_type == "Conv2D":
        return tf.nn.conv2d(x, weight, 1, **options)
    if op_type == "DepthwiseConv2dNative":
        return v1.nn.depthwise_conv2d_native(x, weight, [1, 1, 1, 1], **options)
    channels = weight.shape[2]
    sizes = [2, 6, 6, channels] if data_format == "NHWC" else [2, channels, 6, 6]
    return tf.raw_ops.Conv2DBackpropInput(
        input_sizes=sizes, filter=weight, out_backprop=x, strides=[1, 1, 1, 1], **options
    )


@pytest.fixture
def layer_model() -> Callable[..., LayerModel]:
    """Builds a LayerModel: op type, what follows it, layout, seed."""

    def build(op_type: str, tail: str, data_format: str = "NHWC", seed: int = 0) -> LayerModel:
        rng = np.random.default_rng(seed)
        shape, axes = WEIGHT_SHAPES[op_type]
        channels = int(np.prod([shape[axis] for axis in axes]))
        weight = rng.normal(0, 0.2, shape).astype(np.float32)
        gamma = (rng.choice([-1, 1], channels) * rng.uniform(0.3, 2, channels)).astype(np.float32)
        beta, mean, added = rng.normal(size=(3, channels)).astype(np.float32)
        variance = rng.uniform(0.2, 3, channels).astype(np.float32)
        data = (2, 16) if op_type == "MatMul" else (2, 6, 6, 4)
        x = rng.normal(0, 1, data).astype(np.float32)
        if data_format == "NCHW":
            x = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
        with tf.Graph().as_default() as graph:
            fed = v1.placeholder(tf.float32, x.shape, name="x")
            with v1.name_scope("block"):
                y = _apply(op_type, fed, weight, data_format)
                factor, bias = np.ones(channels), np.zeros(channels)
                k = gamma / np.sqrt(variance.astype(np.float64) + EPSILON)
                tags = tail.split("+")
                if "bias" in tags:
                    layout = data_format if y.shape.rank == 4 else None
                    y, bias = tf.nn.bias_add(y, added, layout), bias + added
                if "fused" in tags:
                    parts = gamma, beta, mean, variance, EPSILON, data_format
                    y = v1.nn.fused_batch_norm(y, *parts, is_training=False)[0]
                if "unfused" in tags:
                    y = tf.nn.batch_normalization(y, mean, variance, beta, gamma, EPSILON)
                if "fused" in tags or "unfused" in tags:
                    factor, bias = k, (bias - mean) * k + beta
                if "shifted" in tags:
                    y, bias = y - mean, bias - mean
                if "doubled" in tags:
                    y, factor, bias = y * 2.0, factor * 2, bias * 2
            tf.identity(y, name="y")
        return LayerModel(graph.as_graph_def(), op_type, data_format, weight, axes, factor, bias, x)

    return build


@pytest.fixture
def five_layers() -> Callable[..., Any]:
    """Builds a graph with the five kinds of layer, batch norm behind three of them."""

    def build(constants: bool = True, batch: int | None = None, seed: int = 0) -> tf.Graph:
        rng = np.random.default_rng(seed)

        def value(*shape: int, low: float | None = None) -> Any:
            drawn = rng.normal(0, 0.4, shape) if low is None else rng.uniform(low, 2, shape)
            array = drawn.astype(np.float32)
            return tf.constant(array) if constants else v1.Variable(array)

        def fused(y: tf.Tensor, channels: int) -> tf.Tensor:
            parts = value(channels), value(channels), value(channels), value(channels, low=0.5)
            return v1.nn.fused_batch_norm(y, *parts, is_training=False)[0]

        with tf.Graph().as_default() as graph:
            y = v1.placeholder(tf.float32, [batch, 8, 8, 3], name="image")
            with v1.name_scope("conv"):
                y = tf.nn.conv2d(y, value(3, 3, 3, 4), 1, "SAME", name="Conv2D")
                y = tf.nn.relu(fused(y, 4))
            with v1.name_scope("depthwise"):
                weight = value(3, 3, 4, 2)
                y = v1.nn.depthwise_conv2d_native(y, weight, [1, 2, 2, 1], "SAME", name="depthwise")
                parts = value(8), value(8, low=0.5), value(8), value(8)
                y = tf.nn.relu(tf.nn.batch_normalization(y, *parts, 1e-3))
            with v1.name_scope("up"):
                sizes = tf.stack([tf.shape(y)[0], 8, 8, 6])
                y = tf.nn.conv2d_transpose(y, value(3, 3, 6, 8), sizes, 2, name="deconv")
                y = tf.nn.relu(fused(tf.nn.bias_add(y, value(6)), 6))
            y = tf.nn.avg_pool2d(y, 4, 4, "VALID", name="pool/AvgPool")
            with v1.name_scope("head"):
                y = tf.nn.conv2d(y, value(2, 2, 6, 10), 1, "VALID", name="Conv2D")
                y = tf.nn.bias_add(tf.squeeze(y, [1, 2]), value(10))
                y = tf.matmul(y, value(10, 5), name="MatMul") + value(5)
            y = tf.identity(y, name="logits")
            tf.nn.softmax(y, name="probability")
        return graph

    return build


@pytest.fixture
def five_factors() -> dict[str, tuple[float, int]]:
    """scale_d and offset_d for each layer of `five_layers`; no scale is a power of two."""
    return {
        "conv/Conv2D": (0.0213, 3),
        "depthwise/depthwise": (0.0171, -128),
        "up/deconv": (0.0319, -128),
        "pool/AvgPool": (0.0433, -128),
        "head/Conv2D": (0.0377, -128),
        "head/MatMul": (0.0523, 11),
    }


@pytest.fixture
def quantize_for_training() -> Callable[..., dict[str, np.ndarray]]:
    """Puts marked fake quantisers into a live graph, as training does."""

    def rewrite_graph(
        graph: tf.Graph,
        factors: Mapping[str, tuple[float, int]],
        weights: Mapping[str, np.ndarray],
    ) -> dict[str, np.ndarray]:
        """Returns the weight scale of each layer, before anything is folded into it."""
        scales: dict[str, np.ndarray] = {}
        plan = plan_graph(graph)
        with Rewrite(graph) as rewrite:
            for layer in plan.layers:
                op = graph.get_operation_by_name(layer.name)
                scale, offset = factors[layer.name]
                with rewrite.beside(op):
                    x = tf.identity(op.inputs[layer.activation_port])
                    ends = (-128 - offset) * scale, (127 - offset) * scale
                    faked = tf.quantization.fake_quant_with_min_max_vars(x, *ends)
                mark(x.op, ACTIVATION_INPUT)
                mark(faked.op, ACTIVATION_OUTPUT)
                rewrite.redirect(op, layer.activation_port, faked)
                if layer.weight_port is None:
                    continue
                axes = layer.weight_channel_axes if layer.op_type != "MatMul" else ()
                value = weights[layer.name]
                others = tuple(axis for axis in range(value.ndim) if axis not in axes)
                step = (np.abs(value).max(axis=others, keepdims=True) / 127).astype(np.float32)
                with rewrite.beside(op):
                    w = tf.identity(op.inputs[layer.weight_port])
                    on_grid = tf.round(w / step) * step
                mark(w.op, WEIGHT_INPUT)
                mark(on_grid.op, WEIGHT_OUTPUT)
                rewrite.redirect(op, layer.weight_port, on_grid)
                scales[layer.name] = step.reshape(-1)
        return scales

    return rewrite_graph


@pytest.fixture
def run() -> Callable[..., list[np.ndarray]]:
    """Imports a GraphDef and runs it as a user would."""

    def run_graph(graph_def: Any, outputs: list[str], feeds: dict[str, np.ndarray]) -> Any:
        with tf.Graph().as_default() as graph:
            tf.import_graph_def(graph_def, name="")
        with v1.Session(graph=graph) as session:
            return session.run([f"{name}:0" for name in outputs], feeds)

    return run_graph


@pytest.fixture(scope="module")
def image():
    """float32 ``[4, 8, 8, 3]``."""
    return np.random.default_rng(3).normal(0, 1, (4, 8, 8, 3)).astype(np.float32)


@pytest.fixture
def trained(five_layers, five_factors, quantize_for_training):
    """The frozen graph of a trained model with its record, and the float graph's outputs."""
    graph = five_layers(constants=False)
    norms = {name: read_norm(graph, name) for name in ("conv", "depthwise", "up")}
    layers = {
        "conv/Conv2D": norms["conv"],
        "depthwise/depthwise": norms["depthwise"],
        "up/deconv": norms["up"],
    }
    with graph.as_default():
        initialise = v1.global_variables_initializer()
    with v1.Session(graph=graph) as session:
        session.run(initialise)
        weights = {
            name: session.run(graph.get_operation_by_name(name).inputs[1])
            for name in five_factors
            if name != "pool/AvgPool"
        }
        values = {name: session.run(list(norm[:2])) for name, norm in layers.items()}
        stored = session.run(v1.global_variables())
    scales = quantize_for_training(graph, five_factors, weights)
    with graph.as_default():
        assigns = [
            variable.assign(value)
            for variable, value in zip(v1.global_variables(), stored, strict=True)
        ]
    with v1.Session(graph=graph) as session:
        session.run(assigns)
        frozen = v1.graph_util.convert_variables_to_constants(
            session, graph.as_graph_def(), ["logits"]
        )
    record = {}
    for name, (scale_d, offset_d) in five_factors.items():
        scale_w = scales.get(name)
        if name in values:
            gamma, variance = values[name]
            scale_w = scale_w * np.abs(gamma) / np.sqrt(variance + np.float32(layers[name][2]))
        record[name] = LayerFactors(scale_d, offset_d, scale_w)
    return frozen, parse_record(format_record(Record(record)))


def read_norm(graph, scope):
    """gamma, variance and epsilon of the batch norm in `scope`."""
    for op in graph.get_operations():
        if op.name.startswith(scope + "/") and op.type == "FusedBatchNormV3":
            return op.inputs[1], op.inputs[4], op.get_attr("epsilon")
    add = graph.get_operation_by_name(f"{scope}/batchnorm/add")
    scale = graph.get_operation_by_name(f"{scope}/batchnorm/mul")
    return scale.inputs[1], add.inputs[0], 1e-3

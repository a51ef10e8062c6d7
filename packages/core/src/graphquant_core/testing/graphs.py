"""Random graphs of the supported layers, as descriptions that hypothesis can shrink."""

from __future__ import annotations

import attrs
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from hypothesis import strategies as st

v1 = tf.compat.v1

CONVOLUTIONS = ("Conv2D", "DepthwiseConv2dNative", "Conv2DBackpropInput")
LAYER_TYPES = (*CONVOLUTIONS, "AvgPool")
STORAGES = ("resource", "reference", "constant")
EPSILON = 1e-3


@attrs.frozen
class LayerSpec:
    """One layer and what follows it.

    Attributes:
        op_type: One of `LAYER_TYPES`.
        channels: Output channels; a depthwise layer uses it modulo 2, plus 1, as multiplier.
        kernel: Size of the square window.
        stride: Stride along both axes.
        batch_norm: ``"none"``, ``"fused"`` or ``"unfused"``, in inference mode.
        bias: ``"none"``, ``"BiasAdd"`` or ``"AddV2"``.
        activation: ``"none"``, ``"Relu"`` or ``"Relu6"``.
    """

    op_type: str
    channels: int
    kernel: int
    stride: int
    batch_norm: str
    bias: str
    activation: str


@attrs.frozen
class GraphSpec:
    """A chain of layers that ends in a MatMul.

    Attributes:
        size: Height and width of the input.
        channels: Channels of the input.
        layers: The layers, first to last.
        classes: Columns of the MatMul.
        storage: Where weights are held, one of `STORAGES`.
        seed: Seed of the weights.
    """

    size: int
    channels: int
    layers: tuple[LayerSpec, ...]
    classes: int
    storage: str
    seed: int


@attrs.frozen(eq=False)
class BuiltGraph:
    """A graph, its input placeholder ``[N, H, W, C]``, its output, and its layers' op names."""

    graph: tf.Graph
    input: tf.Tensor
    output: tf.Tensor
    layers: tuple[str, ...]

    def batch(self, count: int, seed: int = 0) -> npt.NDArray[np.float32]:
        """`count` random inputs."""
        shape = (count, *self.input.shape.as_list()[1:])
        return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def layer_specs() -> st.SearchStrategy[LayerSpec]:
    """Layers of every kind, small."""
    return st.builds(
        LayerSpec,
        op_type=st.sampled_from(LAYER_TYPES),
        channels=st.integers(1, 4),
        kernel=st.integers(1, 3),
        stride=st.integers(1, 2),
        batch_norm=st.sampled_from(("none", "fused", "unfused")),
        bias=st.sampled_from(("none", "BiasAdd", "AddV2")),
        activation=st.sampled_from(("none", "Relu", "Relu6")),
    )


def graph_specs(max_layers: int = 4) -> st.SearchStrategy[GraphSpec]:
    """Chains of 1 to `max_layers` layers and a MatMul."""
    return st.builds(
        GraphSpec,
        size=st.integers(4, 8),
        channels=st.integers(1, 3),
        layers=st.lists(layer_specs(), min_size=1, max_size=max_layers).map(tuple),
        classes=st.integers(2, 4),
        storage=st.sampled_from(STORAGES),
        seed=st.integers(0, 2**16),
    )


def build_graph(spec: GraphSpec) -> BuiltGraph:
    """The inference graph that `spec` describes; batch norms have scales of both signs."""
    graph = tf.Graph()
    with graph.as_default():
        builder = _Builder(spec)
        x = value = v1.placeholder(tf.float32, [None, spec.size, spec.size, spec.channels], "x")
        for index, layer in enumerate(spec.layers):
            with v1.name_scope(f"layer{index}"):
                value = builder.layer(value, layer)
        flat = tf.reshape(value, [-1, int(np.prod(value.shape.as_list()[1:]))])
        weight = builder.stored("dense", (flat.shape[1], spec.classes))
        output = tf.matmul(flat, weight, name="dense/MatMul")
        builder.names.append(output.op.name)
        return BuiltGraph(graph, x, tf.identity(output, name="output"), tuple(builder.names))


class _Builder:
    def __init__(self, spec: GraphSpec) -> None:
        self.storage = spec.storage
        self.random = np.random.default_rng(spec.seed)
        self.names: list[str] = []

    def stored(
        self, name: str, shape: tuple[int, ...], values: npt.ArrayLike | None = None
    ) -> tf.Tensor:
        """A weight of `shape`, held as the graph's description says."""
        if values is None:
            values = self.random.normal(size=shape) / np.sqrt(np.prod(shape[:-1]))
        initial = np.asarray(values, np.float32)
        if self.storage == "constant":
            return tf.constant(initial, name=name)
        with v1.variable_scope(v1.get_variable_scope(), use_resource=self.storage == "resource"):
            unique = v1.get_default_graph().unique_name(name, mark_as_used=False)
            return tf.convert_to_tensor(v1.get_variable(unique, initializer=tf.constant(initial)))

    def layer(self, x: tf.Tensor, layer: LayerSpec) -> tf.Tensor:
        value = self._linear(x, layer)
        self.names.append(value.op.name)
        channels = value.shape[-1]
        if layer.bias != "none" and layer.op_type != "AvgPool":
            bias = self.stored("bias", (channels,), self.random.normal(size=channels))
            value = tf.nn.bias_add(value, bias) if layer.bias == "BiasAdd" else value + bias
        if layer.batch_norm != "none":
            value = self._batch_norm(value, layer.batch_norm)
        if layer.activation != "none":
            value = tf.nn.relu(value) if layer.activation == "Relu" else tf.nn.relu6(value)
        return value

    def _linear(self, x: tf.Tensor, layer: LayerSpec) -> tf.Tensor:
        channels, kernel, stride = x.shape[-1], layer.kernel, layer.stride
        strides = [1, stride, stride, 1]
        if layer.op_type == "Conv2D":
            weight = self.stored("weights", (kernel, kernel, channels, layer.channels))
            return tf.nn.conv2d(x, weight, strides, "SAME", name="Conv2D")
        if layer.op_type == "DepthwiseConv2dNative":
            shape = (kernel, kernel, channels, layer.channels % 2 + 1)
            return tf.nn.depthwise_conv2d(
                x, self.stored("weights", shape), strides, "SAME", name="depthwise"
            )
        if layer.op_type == "Conv2DBackpropInput":
            weight = self.stored("weights", (kernel, kernel, layer.channels, channels))
            size = x.shape[1] * stride
            sizes = tf.stack([tf.shape(x)[0], size, size, layer.channels])
            return tf.nn.conv2d_transpose(
                x, weight, sizes, strides, "SAME", name="conv2d_transpose"
            )
        window = [1, kernel, kernel, 1]
        return tf.nn.avg_pool2d(x, window, strides, "SAME", name="AvgPool")

    def _batch_norm(self, x: tf.Tensor, kind: str) -> tf.Tensor:
        channels = x.shape[-1]
        signs = np.where(self.random.random(channels) < 0.5, -1, 1)
        gamma = self.stored("gamma", (channels,), signs * self.random.uniform(0.5, 2, channels))
        beta = self.stored("beta", (channels,), self.random.normal(size=channels))
        mean = self.stored("mean", (channels,), self.random.normal(size=channels))
        variance = self.stored("variance", (channels,), self.random.uniform(0.5, 2, channels))
        if kind == "unfused":
            return tf.nn.batch_normalization(x, mean, variance, beta, gamma, EPSILON)
        return v1.nn.fused_batch_norm(
            x, gamma, beta, mean, variance, epsilon=EPSILON, is_training=False
        )[0]

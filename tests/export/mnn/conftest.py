"""Graphs with every layer that MNN quantises, and the real converter."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import tensorflow as tf

from graphquant_core.graph import GraphView
from graphquant_core.graph.frozen import GraphDefEditor, import_frozen, load_graph_def
from graphquant_core.graph.frozen.node_def import const_node, fake_quantizer
from graphquant_core.layer import Layer
from graphquant_export.targets.mnn import mnn_grouping, read_mnn_model
from graphquant_export.targets.mnn.int8.artifact import MnnInt8Artifact
from graphquant_export.targets.mnn.int8.mnn_layers import find_parts

v1 = tf.compat.v1

WEIGHTS = {
    "conv": Layer("conv", "Conv2D", 0, 1, (3, 3, 32, 6), (3,)),
    "pointwise": Layer("pointwise", "Conv2D", 0, 1, (1, 1, 6, 32), (3,)),
    "depthwise": Layer("depthwise", "DepthwiseConv2dNative", 0, 1, (3, 3, 32, 1), (2, 3)),
    "deconv": Layer("deconv", "Conv2DBackpropInput", 2, 1, (2, 2, 64, 32), (2,)),
    "dense": Layer("dense", "MatMul", 0, 1, (64, 10), (1,)),
    "transposed": Layer("transposed", "MatMul", 0, 1, (7, 10), (0,)),
}


@attrs.frozen(eq=False)
class MnnModel:
    """A frozen graph with all layers of `WEIGHTS`, and its weights."""

    graph_def: Any
    weights: dict[str, np.ndarray]

    def save(self, folder: Path) -> Path:
        """The graph as a file."""
        path = folder / "frozen.pb"
        path.write_bytes(self.graph_def.SerializeToString())
        return path


def mnn_name(layer: str) -> str:
    """What MNN calls a layer of `WEIGHTS`."""
    matmul = WEIGHTS[layer].op_type == "MatMul"
    return f"{layer}__matmul_converted" if matmul else layer


@pytest.fixture
def mnn() -> None:
    """Skips a test that needs the wheel MNN where it isn't installed."""
    try:
        importlib.metadata.version("MNN")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip('needs the wheel MNN: pip install "graphquant-export[mnn]"')


@pytest.fixture
def all_layers() -> Callable[..., MnnModel]:
    """Builds an MnnModel; `weights` replaces those that are drawn."""

    def build(weights: dict[str, np.ndarray] | None = None, seed: int = 0) -> MnnModel:
        rng = np.random.default_rng(seed)
        drawn = {
            name: rng.normal(0, 0.3, layer.weight_shape).astype(np.float32)
            for name, layer in WEIGHTS.items()
        }
        w = {**drawn, **(weights or {})}
        with tf.Graph().as_default() as graph:
            y = v1.placeholder(tf.float32, [1, 8, 8, 32], name="x")
            y = tf.nn.relu(tf.nn.conv2d(y, w["conv"], 2, "SAME", name="conv"))
            y = tf.nn.relu(tf.nn.conv2d(y, w["pointwise"], 1, "SAME", name="pointwise"))
            y = v1.nn.depthwise_conv2d_native(
                y, w["depthwise"], [1, 1, 1, 1], "SAME", name="depthwise"
            )
            y = tf.raw_ops.Conv2DBackpropInput(
                input_sizes=[1, 8, 8, 64],
                filter=w["deconv"],
                out_backprop=tf.nn.relu(y),
                strides=[1, 2, 2, 1],
                padding="SAME",
                name="deconv",
            )
            y = tf.matmul(tf.reduce_mean(tf.nn.relu(y), [1, 2]), w["dense"], name="dense")
            y = tf.matmul(tf.nn.relu(y), w["transposed"], transpose_b=True, name="transposed")
            tf.nn.softmax(y, name="prob")
        return MnnModel(graph.as_graph_def(), w)

    return build


@pytest.fixture(scope="session")
def mnn_simulation() -> Callable[[MnnInt8Artifact], Any]:
    """The graph that computes in TensorFlow what the MNN model of an artifact computes."""
    return simulate_mnn


def simulate_mnn(artifact: MnnInt8Artifact) -> Any:
    """The frozen graph with the file's grids and weights; what isn't rounded is ``unquantized``."""
    graph_def = load_graph_def(artifact.frozen_path)
    editor = GraphDefEditor(graph_def)
    weights = weights_of_their_own(graph_def, artifact)
    for row in artifact.planned:
        name = row.simulated.node
        if row.simulated.weight is not None and name in weights:
            editor.replace(const_node(row.simulated.weight, weights[name]))
        if row.execution == "int8" and row.input is not None and row.layer is not None:
            port = row.layer.activation_port
            source = editor.node(name).input[port]
            quantizer = editor.unique_name(f"{name}/quantized_input")
            editor.add(fake_quantizer(quantizer, source, row.input.scale, row.input.zero))
            editor.set_input(name, port, quantizer)
    for row in artifact.planned:
        if row.output is not None:
            result = row.finished or row.result
            unquantized = editor.unique_name(f"{result}/unquantized")
            editor.rename(result, unquantized)
            editor.add(fake_quantizer(result, unquantized, row.output.scale, row.output.zero))
    return editor.graph_def(artifact.source.outputs)


def weights_of_their_own(graph_def: Any, artifact: MnnInt8Artifact) -> dict[str, np.ndarray]:
    """The weights that MNN stores on scales of its own, in TensorFlow's shape, by op name."""
    stored = read_mnn_model(artifact.model_path).layers
    rows: dict[str, list[np.ndarray]] = {}
    layers = {}
    for part in find_parts(GraphView(import_frozen(graph_def)), artifact.planned, stored):
        if part.output is None and part.stored.weight is not None and part.planned.layer:
            name = part.planned.simulated.node
            layers[name] = part.planned.layer
            rows.setdefault(name, []).append(part.stored.weight.values())
    return {
        name: mnn_grouping(layer).weight(np.concatenate(rows[name]))
        for name, layer in layers.items()
    }

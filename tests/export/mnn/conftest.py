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

from graphquant_core.layer import Layer

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

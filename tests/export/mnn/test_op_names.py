"""Names that MNN gives the layers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from graphquant_core.graph import GraphView
from graphquant_export.targets.mnn import ConverterCommand, convert, read_mnn_layers
from graphquant_export.targets.mnn.layers import plan_for_mnn
from graphquant_export.targets.mnn.op_names import mnn_op_names

v1 = tf.compat.v1


def _constant(*shape: int) -> tf.Tensor:
    rng = np.random.default_rng(len(shape))
    return tf.constant(rng.uniform(0.3, 1.3, shape).astype(np.float32))


def _image() -> tf.Tensor:
    return v1.placeholder(tf.float32, [1, 8, 8, 4], name="x")


def _row() -> tf.Tensor:
    return v1.placeholder(tf.float32, [2, 4], name="x")


def _conv(x: tf.Tensor) -> tf.Tensor:
    return tf.nn.conv2d(x, _constant(3, 3, 4, 6), 1, "SAME", name="layer")


def _deconv(x: tf.Tensor) -> tf.Tensor:
    return tf.raw_ops.Conv2DBackpropInput(
        input_sizes=[1, 16, 16, 6],
        filter=_constant(3, 3, 6, 4),
        out_backprop=x,
        strides=[1, 2, 2, 1],
        padding="SAME",
        name="layer",
    )


def _dense(x: tf.Tensor) -> tf.Tensor:
    return tf.matmul(x, _constant(4, 6), name="layer")


def _norm(x: tf.Tensor) -> tf.Tensor:
    parts = [_constant(6) for _ in range(4)]
    return tf.raw_ops.FusedBatchNormV3(
        x=x,
        scale=parts[0],
        offset=parts[1],
        mean=parts[2],
        variance=parts[3],
        is_training=False,
        name="norm",
    ).y


def _bias(x: tf.Tensor) -> tf.Tensor:
    return tf.nn.bias_add(x, _constant(6), name="bias")


def _both(x: tf.Tensor) -> tf.Tensor:
    return tf.concat([_bias(x), tf.tanh(x)], -1)


def _grouped() -> tf.Tensor:
    return _bias(tf.nn.conv2d(_image(), _constant(3, 3, 2, 6), 1, "SAME", name="layer"))


def _conv1d() -> tf.Tensor:
    x = v1.placeholder(tf.float32, [1, 8, 4], name="x")
    return _bias(tf.nn.conv1d(x, _constant(3, 4, 6), 1, "SAME", name="layer"))


def _dilated() -> tf.Tensor:
    x = tf.compat.v1.space_to_batch_nd(_image(), [2, 2], [[2, 2], [2, 2]])
    x = tf.nn.conv2d(x, _constant(3, 3, 4, 6), 1, "VALID", name="layer")
    return _bias(tf.compat.v1.batch_to_space_nd(x, [2, 2], [[0, 0], [0, 0]]))


def _tensordot() -> tf.Tensor:
    x = v1.placeholder(tf.float32, [2, 3, 4], name="x")
    return _bias(tf.tensordot(x, _constant(4, 6), [[2], [0]]))


CASES: dict[str, Callable[[], tf.Tensor]] = {
    "conv": lambda: _conv(_image()),
    "conv, bias": lambda: _bias(_conv(_image())),
    "conv, identity, bias": lambda: _bias(tf.identity(_conv(_image()))),
    "conv, norm": lambda: _norm(_conv(_image())),
    "conv, bias, norm": lambda: _norm(_bias(_conv(_image()))),
    "conv, norm, bias": lambda: _bias(_norm(_conv(_image()))),
    "conv + vector": lambda: tf.add(_conv(_image()), _constant(6), name="add"),
    "vector + conv": lambda: tf.add(_constant(6), _conv(_image()), name="add"),
    "conv + row": lambda: tf.add(_conv(_image()), _constant(1, 1, 1, 6), name="add"),
    "conv + number": lambda: tf.add(_conv(_image()), 0.5, name="add"),
    "conv - vector": lambda: tf.subtract(_conv(_image()), _constant(6), name="sub"),
    "conv * vector": lambda: tf.multiply(_conv(_image()), _constant(6), name="mul"),
    "conv taken twice": lambda: _both(_conv(_image())),
    "conv1d, bias": _conv1d,
    "dilated conv, bias": _dilated,
    "grouped conv, bias": _grouped,
    "deconv": lambda: _deconv(_image()),
    "deconv, bias": lambda: _bias(_deconv(_image())),
    "deconv, norm": lambda: _norm(_deconv(_image())),
    "dense": lambda: _dense(_row()),
    "dense, bias": lambda: _bias(_dense(_row())),
    "vector + dense": lambda: tf.add(_constant(6), _dense(_row()), name="add"),
    "dense + row": lambda: tf.add(_dense(_row()), _constant(1, 6), name="add"),
    "dense taken twice": lambda: _both(_dense(_row())),
    "tensordot, bias": _tensordot,
}


@pytest.mark.usefixtures("mnn")
@pytest.mark.parametrize("case", CASES)
def test_names_are_those_that_the_converter_gives(case: str, tmp_path: Path) -> None:
    """The layers in the model that the real converter writes have exactly the derived names."""
    with tf.Graph().as_default() as graph:
        tf.nn.relu(CASES[case](), name="out")
    (tmp_path / "frozen.pb").write_bytes(graph.as_graph_def().SerializeToString())
    model = convert(ConverterCommand(tmp_path / "frozen.pb", tmp_path / "model.mnn"))
    view = GraphView(graph)
    derived = [name for layer in plan_for_mnn(graph).layers for name in mnn_op_names(view, layer)]
    assert sorted(derived) == sorted(read_mnn_layers(model))

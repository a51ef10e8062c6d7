"""`quantize_frozen_weights`: weight-only quantisation of a frozen graph."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from graphquant_core.exceptions import BitsError, NoLayersError, NonFiniteError, UnknownNameError
from graphquant_export.targets.mnn import mnn_quantize
from graphquant_export.targets.mnn.export import export_mnn
from graphquant_export.targets.mnn.weight_params import weight_record
from graphquant_wq import quantize_frozen_weights
from graphquant_wq.frozen_weights import QuantizedWeights

v1 = tf.compat.v1

RANDOM = np.random.default_rng(0)
KERNEL = RANDOM.standard_t(4, size=(3, 3, 16, 8)).astype(np.float32)
DENSE = RANDOM.standard_t(4, size=(64, 5)).astype(np.float32)
IMAGES = RANDOM.normal(size=(4, 8, 8, 16)).astype(np.float32)


def _model(kernel: Any = KERNEL) -> tf.compat.v1.GraphDef:
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 8, 8, 16], "images")
        y = tf.nn.relu(tf.nn.conv2d(x, kernel, 1, "SAME", name="conv"))
        y = tf.nn.conv2d(y, KERNEL[:1, :1, :8], 4, "SAME", name="narrow")
        y = tf.reshape(tf.tile(y, [1, 2, 1, 1]), [-1, 64])
        tf.nn.bias_add(tf.matmul(y, DENSE, name="dense"), RANDOM.normal(size=5), name="logits")
    return graph.as_graph_def()


MODEL = _model()


def _weights(graph_def: tf.compat.v1.GraphDef) -> dict[str, Any]:
    nodes = {node.name: node for node in graph_def.node}
    return {
        name: tf.make_ndarray(nodes[nodes[name].input[1]].attr["value"].tensor)
        for name in ("conv", "narrow", "dense")
    }


def _quantize(**options: Any) -> QuantizedWeights:
    return quantize_frozen_weights(MODEL, ["logits"], **options)


@pytest.mark.parametrize("asymmetric", [False, True])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_mnn_finds_the_weights_on_the_grid_again(bits: int, asymmetric: bool) -> None:
    """Quantising the new weights by MNN's own formula changes nothing, and uses all the bits."""
    found = _quantize(bits=bits, asymmetric=asymmetric, uniform=True)
    for name, weight in _weights(found.graph_def).items():
        rows = np.moveaxis(weight, -1, 0).reshape(weight.shape[-1], -1)
        stored = mnn_quantize(rows, bits, asymmetric)
        np.testing.assert_allclose(stored.values(), rows, rtol=1e-5, atol=1e-6, err_msg=name)
        assert len(np.unique(rows[0])) <= 2**bits
    assert {(layer.bits, layer.asymmetric) for layer in found.params} == {(bits, asymmetric)}


@pytest.mark.parametrize("asymmetric", [False, True])
def test_the_error_is_below_that_of_the_whole_range(asymmetric: bool) -> None:
    """At 3 bits, long-tailed weights lose much less than by max|w| or min and max."""
    weight = _weights(_quantize(bits=3, asymmetric=asymmetric).graph_def)["conv"]
    rows = np.moveaxis(KERNEL, -1, 0).reshape(8, -1)
    plain = mnn_quantize(rows, 3, asymmetric).values()
    assert np.square(weight - KERNEL).sum() < 0.7 * np.square(plain - rows).sum()


def test_everything_but_the_weights_is_as_it_was() -> None:
    """All other nodes are the model's own, byte for byte."""
    before = {node.name: node for node in MODEL.node}
    for node in _quantize().graph_def.node:
        if node.name in ("conv", "narrow", "dense") or node.name.endswith("/on_grid"):
            continue
        assert node == before[node.name]


def test_bits_and_skips_go_by_layer() -> None:
    """The last pattern that fits says the bits; a skipped layer keeps its weight."""
    found = _quantize(bits=4, layer_bits={"n*": 8}, skip_layers=["dense"])
    assert [(layer.op_name, layer.bits) for layer in found.params] == [("conv", 4), ("narrow", 8)]
    np.testing.assert_array_equal(_weights(found.graph_def)["dense"], DENSE)
    assert [skip.name for skip in found.plan.skips] == ["dense"]


def test_small_groups_have_8_bits_unless_told_otherwise() -> None:
    """The 8 weights of a group of "narrow" cost little; what the user says of a layer counts."""
    assert _bits(_quantize(bits=4)) == {"conv": 4, "narrow": 8, "dense": 4}
    assert _quantize(bits=4).kept_wide == ("narrow",)
    assert _bits(_quantize(bits=4, uniform=True)) == dict.fromkeys(("conv", "narrow", "dense"), 4)
    assert _bits(_quantize(bits=4, layer_bits={"nar*": 3}))["narrow"] == 3


def _bits(found: QuantizedWeights) -> dict[str, int]:
    return {
        layer.op_name.removesuffix("__matmul_converted").replace("logits", "dense"): layer.bits
        for layer in found.params
    }


def test_zeros_stay_zero() -> None:
    """A pruned weight gets a symmetric grid, and its zeros are zero."""
    pruned = np.where(np.abs(KERNEL) < 1, np.float32(0), KERNEL)
    found = quantize_frozen_weights(_model(pruned), ["logits"], bits=4, asymmetric=True)
    assert [layer.asymmetric for layer in found.params] == [False, True, True]
    assert np.all(_weights(found.graph_def)["conv"][pruned == 0] == 0)


def test_wrong_arguments_are_refused() -> None:
    """Bits, names and weights that cannot be are one error each."""
    with pytest.raises(BitsError, match="from 2 to 8"):
        _quantize(bits=1)
    with pytest.raises(UnknownNameError, match='did you mean "conv"'):
        _quantize(skip_layers=["conf"])
    with pytest.raises(NoLayersError, match="skip_layers names it"):
        _quantize(skip_layers=["*"])
    with pytest.raises(NonFiniteError, match='layer "conv"'):
        quantize_frozen_weights(_model(KERNEL * np.float32(np.nan)), ["logits"])


@pytest.mark.skipif(find_spec("MNN") is None, reason="needs the wheel MNN")
@pytest.mark.parametrize("asymmetric", [False, True])
def test_mnn_converts_it_with_the_same_codes(tmp_path: Path, asymmetric: bool) -> None:
    """MNN's own converter stores the weights of the graph: the export compares every one."""
    found = _quantize(bits=4, asymmetric=asymmetric, uniform=True)
    record = weight_record(found.graph_def, found.outputs, found.params)
    artifact = export_mnn(found.graph_def, found.outputs, record, tmp_path / "model")
    assert [(layer.name, layer.bits, layer.mismatches) for layer in artifact.layers] == [
        ("conv", 4, 0),
        ("narrow", 4, 0),
        ("dense", 4, 0),
    ]

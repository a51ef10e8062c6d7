"""The functions that define Ascend's ops."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from graphquant_core.graph.frozen.node_def import const_node, node_def
from graphquant_export.quantized.integers import hardware_scale
from graphquant_export.targets.ascend import ASCEND_TYPES, ascend_functions

v1 = tf.compat.v1

# Ops that TensorFlow 1.15 has, with the attributes that it knows.
STOCK_1_15 = {
    "Add": {"T"},
    "Bitcast": {"T", "type"},
    "Cast": {"SrcT", "DstT"},
    "ConcatV2": {"N", "T", "Tidx"},
    "Const": {"value", "dtype"},
    "DataFormatDimMap": {"T", "src_format", "dst_format"},
    "ExpandDims": {"T", "Tdim"},
    "Fill": {"T", "index_type"},
    "FloorDiv": {"T"},
    "LeakyRelu": {"T", "alpha"},
    "Maximum": {"T"},
    "Minimum": {"T"},
    "Mul": {"T"},
    "Neg": {"T"},
    "Rank": {"T"},
    "Reshape": {"T", "Tshape"},
    "Round": {"T"},
    "Sub": {"T"},
    "Unpack": {"T", "num", "axis"},
}


def call(op: str, *inputs: np.ndarray, **attributes: Any) -> np.ndarray:
    """Value of one node of type `op`, defined by the library alone."""
    nodes = [const_node(f"x{i}", value) for i, value in enumerate(inputs)]
    nodes.append(node_def("y", op, [node.name for node in nodes], T=tf.float32, **attributes))
    graph_def = v1.GraphDef(node=nodes)
    graph_def.library.function.extend(ascend_functions())
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
    with v1.Session(graph=graph) as session:
        return session.run("y:0")


@settings(max_examples=30)
@given(
    x=arrays(np.float32, 20, elements=st.floats(-40, 40, width=32)),
    scale=st.floats(0.125, 200, width=32),
    offset=st.integers(-128, 127),
)
def test_quant_is_the_int8_code_minus_the_offset(x: np.ndarray, scale: float, offset: int) -> None:
    """AscendQuant(x) = clip(round_half_even(x * scale) + offset, -128, 127) - offset, exactly."""
    y = call("AscendQuant", x, scale=scale, offset=float(offset), quant_bits=8, dst_type="INT8")
    expected = np.clip(np.rint(x * np.float32(scale)) + offset, -128, 127) - offset
    np.testing.assert_array_equal(y, expected.astype(np.float32))


def test_quant_rounds_ties_to_even_and_keeps_zero() -> None:
    """0.5 -> 0, 1.5 -> 2, 2.5 -> 2, and 0.0 -> 0 whatever the offset."""
    x = np.array([0.5, 1.5, 2.5, -0.5, -1.5, 0.0], np.float32)
    y = call("AscendQuant", x, scale=1.0, offset=-100.0, quant_bits=8, dst_type="INT8")
    np.testing.assert_array_equal(y, [0, 2, 2, 0, -2, 0])


def test_weight_quant_subtracts_the_offset() -> None:
    """AscendWeightQuant(w, offset) = w - offset in float, over the whole int8 range."""
    w = np.arange(-128, 128, dtype=np.int8)
    y = call("AscendWeightQuant", w, np.array([3], np.int8), dst_type="INT8")
    np.testing.assert_array_equal(y, w.astype(np.float32) - 3)


@pytest.mark.parametrize("data_format", ["NHWC", "NCHW"])
@pytest.mark.parametrize("rank", [2, 3, 4, 5])
@pytest.mark.parametrize("scales", [1, 3])
def test_dequant_multiplies_each_channel_by_its_scale(
    data_format: str, rank: int, scales: int
) -> None:
    """AscendDequant scales along the last axis for NHWC, along axis 1 for NCHW."""
    axis = rank - 1 if data_format == "NHWC" else 1
    shape = [2] * rank
    shape[axis] = 3
    x = np.random.default_rng(0).integers(-1000, 1000, shape).astype(np.float32)
    scale = np.array([0.1, 3e-7, 2.5][:scales], np.float32)
    y = call("AscendDequant", x, hardware_scale(scale), ksize=[1, 1], data_format=data_format)
    broadcast = [1] * rank
    broadcast[axis] = scales
    np.testing.assert_array_equal(y, x * scale.reshape(broadcast))


def test_anti_quant_multiplies_by_the_scale() -> None:
    """AscendAntiQuant(x) = x * scale."""
    x = np.arange(-5, 5, dtype=np.float32)
    np.testing.assert_array_equal(
        call("AscendAntiQuant", x, scale=0.3, offset=7.0), x * np.float32(0.3)
    )


def test_the_functions_use_only_what_tensorflow_1_15_has() -> None:
    """Every node has an op and attributes that TensorFlow 1.15 knows; no attribute a default."""
    functions = ascend_functions()
    assert {function.signature.name for function in functions} == ASCEND_TYPES
    for function in functions:
        assert not any(attr.HasField("default_value") for attr in function.signature.attr)
        assert not any(argument.type_attr for argument in function.signature.input_arg)
        for node in function.node_def:
            assert set(node.attr) <= STOCK_1_15[node.op]


@given(arrays(np.float32, 5, elements=st.floats(2**-60, 2**60, width=32)))
def test_the_hardware_scale_has_the_float_bits_in_its_low_half(scale: np.ndarray) -> None:
    """uint64: low 32 bits are the float32's, high 32 bits are zero."""
    bits = hardware_scale(scale)
    assert bits.dtype == np.uint64
    assert (bits >> np.uint64(32) == 0).all()
    low = (bits & np.uint64(0xFFFFFFFF)).astype(np.uint32).view(np.float32)
    np.testing.assert_array_equal(low, scale)


SCRIPT = """
import sys
import tensorflow as tf
from graphquant_core.graph.frozen.node_def import node_def
from graphquant_export.targets.ascend import ascend_functions

graph_def = tf.compat.v1.GraphDef()
graph_def.node.append(node_def("x", "Placeholder", [], dtype=tf.float32))
attributes = {"T": tf.float32, "scale": 8.0, "offset": 3.0}
graph_def.node.append(node_def("y", "AscendAntiQuant", ["x"], **attributes))
for sums in (tf.float32, tf.float64):
    functions = ascend_functions(sums)
    del graph_def.library.function[:]
    graph_def.library.function.extend(functions)
    if sums == tf.float64:
        graph_def.node[0].attr["dtype"].type = sums.as_datatype_enum
    with tf.Graph().as_default():
        tf.import_graph_def(graph_def, name="")
        with tf.compat.v1.Session() as session:
            print(session.run("y:0", {"x:0": 2.0}))
"""


def test_a_session_logs_no_error_about_them() -> None:
    """TensorFlow looks into each function, without a caller, when the first session starts."""
    quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "0", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, env=quiet
    )
    assert done.stdout.split() == ["16.0", "16.0"]
    assert "Ascend" not in done.stderr

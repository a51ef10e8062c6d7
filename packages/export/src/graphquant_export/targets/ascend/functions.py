"""The Ascend ops as functions of stock ops, so that any TensorFlow from 1.15 on runs them.

Each signature is that of the op which Ascend's own TensorFlow adapter registers, and each body
computes what that op's CPU kernel computes, but for ties, which go to the even integer as they do
on the device. A function has no default values for attributes: TensorFlow Lite's converter would
take those instead of the caller's. Quantisation and dequantisation are not inlined: Grappler would
merge their factors with those around them, and sums of integers would no longer be integers.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from tensorflow.core.framework.function_pb2 import FunctionDef

from graphquant_export.quantized.exact_sums import IntegerOps, without_functions
from graphquant_export.quantized.function_builder import FromCaller, FunctionBuilder

SOURCES = frozenset({"AscendQuant", "AscendWeightQuant"})
SINKS = frozenset({"AscendDequant", "AscendAntiQuant"})
ASCEND_TYPES = SOURCES | SINKS


def ascend_functions(sums: tf.DType = tf.float32) -> list[FunctionDef]:
    """The four functions.

    Args:
        sums: Type of what runs between quantisation and dequantisation: float32, or float64,
            which makes sums of integers exact.
    """
    return [_quant(sums), _weight_quant(sums), _dequant(sums), _anti_quant(sums)]


def without_ascend_functions(graph_def: tf.compat.v1.GraphDef) -> tf.compat.v1.GraphDef:
    """A copy of `graph_def` without the functions that define the Ascend ops."""
    return without_functions(graph_def, ASCEND_TYPES)


def _quant(sums: tf.DType) -> FunctionDef:
    """y = clip(round(x * scale) + offset, -128, 127) - offset, so that 0.0 stays 0."""
    attributes = {
        "T": "type",
        "dst_type": "string",
        "quant_bits": "int",
        "scale": "float",
        "offset": "float",
    }
    f = FunctionBuilder("AscendQuant", {"x": tf.float32}, sums, attributes)
    scale, offset = f.float_attribute("scale"), f.float_attribute("offset")
    lowest, highest = f.constant("lowest", np.float32(-128)), f.constant("highest", np.float32(127))
    scaled = f.binary("scaled", "Mul", "x", scale, tf.float32)
    steps = f.node("steps", "Round", [scaled], "y", T=tf.float32)
    shifted = f.binary("shifted", "Add", steps, offset, tf.float32)
    above = f.binary("above", "Maximum", shifted, lowest, tf.float32)
    codes = f.binary("codes", "Minimum", above, highest, tf.float32)
    centred = f.binary("centred", "Sub", codes, offset, tf.float32)
    return f.build(f.cast("y", centred, tf.float32, sums), inline=False)


def _weight_quant(sums: tf.DType) -> FunctionDef:
    """y = x - offset_w, with one offset for the whole weight."""
    attributes = {"T": "type", "dst_type": "string"}
    inputs = {"x": tf.int8, "offset_w": tf.int8}
    f = FunctionBuilder("AscendWeightQuant", inputs, sums, attributes)
    codes = f.cast("codes", "x", tf.int8, sums)
    offset = f.cast("offset", "offset_w", tf.int8, sums)
    return f.build(f.binary("centred", "Sub", codes, offset, sums))


def _dequant(sums: tf.DType) -> FunctionDef:
    """y = x * scale, where the low 32 bits of `deq_scale` are the float32 bits of the scale.

    The scales, one or one for each channel, get the shape ``[C]``, followed by rank - 2 ones for
    NCHW: DataFormatDimMap says where axis 3 of NHWC, the channels, stands in `data_format`.
    """
    attributes = {"T": "type", "ksize": "list(int)", "data_format": "string"}
    f = FunctionBuilder(
        "AscendDequant", {"x": sums, "deq_scale": tf.uint64}, tf.float32, attributes
    )
    halves = f.node("halves", "Bitcast", ["deq_scale"], "output", T=tf.uint64, type=tf.float32)
    scale = f.node("scale", "Unpack", [halves], "output", T=tf.float32, num=2, axis=-1)
    shaped = f.node(
        "shaped",
        "Reshape",
        [f.cast("exact_scale", scale, tf.float32, sums), _scale_shape(f, sums)],
        "output",
        T=sums,
        Tshape=tf.int32,
    )
    scaled = f.binary("scaled", "Mul", "x", shaped, sums)
    return f.build(f.cast("y", scaled, sums, tf.float32), inline=False)


def _scale_shape(f: FunctionBuilder, sums: tf.DType) -> str:
    two, three = f.constant("two", np.int32(2)), f.constant("three", np.int32(3))
    axis = f.node(
        "axis",
        "DataFormatDimMap",
        [three],
        "y",
        T=tf.int32,
        src_format="NHWC",
        dst_format=FromCaller("data_format"),
    )
    rank = f.node("rank", "Rank", ["x"], "output", T=sums)
    inner = f.binary("inner", "Sub", rank, two, tf.int32)
    moved = f.binary("moved", "Sub", three, axis, tf.int32)  # 0 for NHWC, 2 for NCHW
    twice = f.binary("twice", "Mul", moved, inner, tf.int32)
    count = f.binary("count", "FloorDiv", twice, two, tf.int32)
    zero = f.constant("zero", np.int32(0))
    dims = f.node("dims", "ExpandDims", [count, zero], "output", T=tf.int32, Tdim=tf.int32)
    one = f.constant("one", np.int32(1))
    ones = f.node("ones", "Fill", [dims, one], "output", T=tf.int32, index_type=tf.int32)
    channels = f.constant("channels", np.array([-1], np.int32))
    return f.node(
        "shape", "ConcatV2", [channels, ones, zero], "output", N=2, T=tf.int32, Tidx=tf.int32
    )


def _anti_quant(sums: tf.DType) -> FunctionDef:
    """y = x * scale: what AscendQuant returns has its offset taken off already."""
    attributes = {"T": "type", "scale": "float", "offset": "float"}
    f = FunctionBuilder("AscendAntiQuant", {"x": sums}, tf.float32, attributes)
    scale = f.cast("exact_scale", f.float_attribute("scale"), tf.float32, sums)
    scaled = f.binary("scaled", "Mul", "x", scale, sums)
    return f.build(f.cast("y", scaled, sums, tf.float32))


ASCEND_OPS = IntegerOps(SOURCES, SINKS, ascend_functions)

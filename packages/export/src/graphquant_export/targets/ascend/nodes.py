"""The nodes of a deployed layer, with the attributes that Ascend's compiler reads."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.graph.frozen.node_def import node_def


def ascend_quant(
    name: str, x: str, scale_d: float, offset_d: int, shape: tf.TensorShape
) -> tf.compat.v1.NodeDef:
    """AscendQuant: x to int8. Its attribute `scale` is 1 / scale_d, float32."""
    return node_def(
        name,
        "AscendQuant",
        [x],
        T=tf.float32,
        dst_type="INT8",
        quant_bits=8,
        scale=float(np.float32(1) / np.float32(scale_d)),
        offset=float(offset_d),
        _output_shapes=[shape],
    )


def ascend_weight_quant(
    name: str, weight: str, offset: str, shape: tuple[int, ...]
) -> tf.compat.v1.NodeDef:
    """AscendWeightQuant: int8 weight and int8 offset to what the layer takes."""
    return node_def(
        name,
        "AscendWeightQuant",
        [weight, offset],
        T=tf.float32,
        dst_type="INT8",
        _output_shapes=[tf.TensorShape(shape)],
    )


def ascend_dequant(
    name: str, x: str, scale: str, ksize: list[int], data_format: str, shape: tf.TensorShape
) -> tf.compat.v1.NodeDef:
    """AscendDequant: sums times scale_d * scale_w."""
    return node_def(
        name,
        "AscendDequant",
        [x, scale],
        T=tf.float32,
        ksize=ksize,
        data_format=data_format,
        _output_shapes=[shape],
    )


def zero_offset() -> npt.NDArray[Any]:
    """The offset of a weight on a symmetric grid: int8 ``[1]``, which fits every layout."""
    return np.zeros([1], np.int8)

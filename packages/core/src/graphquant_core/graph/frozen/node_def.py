"""Nodes and attributes of a GraphDef, from Python values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf


def node_def(
    name: str, op: str, inputs: Sequence[str] = (), **attributes: Any
) -> tf.compat.v1.NodeDef:
    """A node; `attributes` as for `attribute_value`."""
    node = tf.compat.v1.NodeDef(name=name, op=op, input=inputs)
    for key, value in attributes.items():
        node.attr[key].CopyFrom(attribute_value(value))
    return node


def const_node(name: str, value: Any) -> tf.compat.v1.NodeDef:
    """A Const with the value and the type of the NumPy array or scalar `value`."""
    array = np.asarray(value)
    return node_def(name, "Const", value=array, dtype=tf.as_dtype(array.dtype))


def fake_quantizer(name: str, x: str, scale: float, offset: int) -> tf.compat.v1.NodeDef:
    """A FakeQuantWithMinMaxArgs of `x` on the grid (q - offset) * scale, q from -128 to 127."""
    step = np.float32(scale)
    low, high = (float(step * np.float32(code - offset)) for code in (-128, 127))
    return node_def(
        name, "FakeQuantWithMinMaxArgs", [x], min=low, max=high, num_bits=8, narrow_range=False
    )


def attribute_value(value: Any) -> tf.compat.v1.AttrValue:
    """`value` as an attribute: str, bool, int, float, DType, TensorShape, array, list of these.

    Raises:
        TypeError: No attribute holds such a value.
    """
    result = tf.compat.v1.AttrValue()
    if isinstance(value, str):
        result.s = value.encode()
    elif isinstance(value, bool):
        result.b = value
    elif isinstance(value, int):
        result.i = value
    elif isinstance(value, float):
        result.f = value
    elif isinstance(value, tf.DType):
        result.type = value.as_datatype_enum
    elif isinstance(value, tf.TensorShape):
        result.shape.CopyFrom(value.as_proto())
    elif isinstance(value, (np.ndarray, np.generic)):
        result.tensor.CopyFrom(tf.make_tensor_proto(value))
    elif isinstance(value, list):
        for item in value:
            _append(result.list, item)
    else:
        raise TypeError(f"no attribute holds {value!r}")
    return result


def _append(target: Any, item: Any) -> None:
    if isinstance(item, int):
        target.i.append(item)
    elif isinstance(item, tf.TensorShape):
        target.shape.add().CopyFrom(item.as_proto())
    else:
        raise TypeError(f"no attribute holds a list of {item!r}")

"""A FunctionDef, node by node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework.attr_value_pb2 import AttrValue
from tensorflow.core.framework.function_pb2 import FunctionDef

from graphquant_core.graph.frozen.node_def import attribute_value

_EXAMPLES: dict[str, dict[str, Any]] = {
    "float": {"f": 1.0},
    "int": {"i": 0},
    "list(int)": {"list": {}},
    "string": {"s": b"NHWC"},
    "type": {"type": tf.float32.as_datatype_enum},
}
"""A value of each type of attribute. A session looks into every function of its graph without a
caller, and logs an error where an attribute has no value then; a call has its own values."""


class FromCaller(str):
    """Name of an attribute of the function: a node takes the value that the caller gives it."""

    __slots__ = ()


class FunctionBuilder:
    """Builds the function `name` with concrete argument types.

    Args:
        name: Name of the function, and so of the op type that calls it.
        inputs: Type of each argument.
        output: Type of the one result, which is called ``y``.
        attributes: Type of each attribute, such as ``"float"`` or ``"list(int)"``; none has a
            default value.
    """

    def __init__(
        self,
        name: str,
        inputs: Mapping[str, tf.DType],
        output: tf.DType,
        attributes: Mapping[str, str],
    ) -> None:
        self._function = FunctionDef()
        signature = self._function.signature
        signature.name = name
        for argument, dtype in inputs.items():
            signature.input_arg.add(name=argument, type=dtype.as_datatype_enum)
        signature.output_arg.add(name="y", type=output.as_datatype_enum)
        for attribute, kind in attributes.items():
            signature.attr.add(name=attribute, type=kind)
            self._function.attr[attribute].CopyFrom(AttrValue(**_EXAMPLES[kind]))

    def node(
        self, name: str, op: str, inputs: Sequence[str], output: str, **attributes: Any
    ) -> str:
        """Adds a node and returns the name of its first tensor, whose argument is `output`."""
        node = self._function.node_def.add(name=name, op=op, input=inputs)
        for key, value in attributes.items():
            if isinstance(value, FromCaller):
                node.attr[key].placeholder = value
            else:
                node.attr[key].CopyFrom(attribute_value(value))
        return f"{name}:{output}:0"

    def constant(self, name: str, value: Any) -> str:
        """A Const with the value of the NumPy array or scalar `value`."""
        array = np.asarray(value)
        dtype = tf.as_dtype(array.dtype)
        return self.node(name, "Const", [], "output", value=array, dtype=dtype)

    def cast(self, name: str, tensor: str, source: tf.DType, target: tf.DType) -> str:
        """`tensor` as `target`; the tensor itself when it has that type already."""
        if source == target:
            return tensor
        return self.node(name, "Cast", [tensor], "y", SrcT=source, DstT=target)

    def binary(self, name: str, op: str, left: str, right: str, dtype: tf.DType) -> str:
        """An elementwise op of two tensors of type `dtype`, whose output is called z."""
        return self.node(name, op, [left, right], "z", T=dtype)

    def float_attribute(self, name: str) -> str:
        """The float attribute `name` as a float32 tensor: -LeakyRelu(-1; alpha) = alpha."""
        minus_one = self.constant(f"{name}/minus_one", np.float32(-1))
        leaked = self.node(
            f"{name}/leaked",
            "LeakyRelu",
            [minus_one],
            "activations",
            T=tf.float32,
            alpha=FromCaller(name),
        )
        return self.node(f"{name}/value", "Neg", [leaked], "y", T=tf.float32)

    def build(self, result: str, *, inline: bool = True) -> FunctionDef:
        """The function, returning the tensor `result`; `inline` lets TensorFlow dissolve it."""
        self._function.ret["y"] = result
        if not inline:
            self._function.attr["_noinline"].b = True
        return self._function

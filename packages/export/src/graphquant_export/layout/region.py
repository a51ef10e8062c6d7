"""The part of a graph that has been brought to NHWC, while it grows."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.graph import GraphView
from graphquant_core.graph.frozen import GraphDefEditor, evaluate_constants, tensor_name
from graphquant_core.graph.frozen.channels_last import TO_NCHW, TO_NHWC, transpose
from graphquant_core.graph.frozen.node_def import const_node

RANK = 4


class Region:
    """Knows of each NCHW tensor of a graph the one with the same values in NHWC.

    Args:
        editor: The graph that is changed.
        view: View of the graph as it was.
    """

    def __init__(self, editor: GraphDefEditor, view: GraphView) -> None:
        self.editor = editor
        self._view = view
        self._last: dict[str, str] = {}
        self._first: dict[str, str] = {}

    def has(self, tensor: tf.Tensor) -> bool:
        """Whether `tensor` has been brought to NHWC."""
        return tensor.name in self._last

    def add(self, tensor: tf.Tensor, as_nhwc: str, as_nchw: str | None = None) -> None:
        """`as_nhwc` has from now on the values of `tensor`, in NHWC, and `as_nchw` in NCHW."""
        self._last[tensor.name] = as_nhwc
        if as_nchw is not None:
            self._first[tensor.name] = as_nchw

    def nhwc(self, tensor: tf.Tensor) -> str:
        """Name of the tensor that has the values of `tensor`, of rank 4, in NHWC."""
        if tensor.name not in self._last:
            name = f"{tensor.op.name}/nhwc"
            source = tensor_name(tensor.name)
            self._last[tensor.name] = transpose(self.editor, name, source, TO_NHWC, tensor.dtype)
            self._first[tensor.name] = source
        return self._last[tensor.name]

    def nchw(self, tensor: tf.Tensor) -> str:
        """Name of the tensor that has the values of `tensor` as the graph had them."""
        if tensor.name not in self._last:
            return tensor_name(tensor.name)
        if tensor.name not in self._first:
            name, source = f"{tensor.op.name}/nchw", self._last[tensor.name]
            self._first[tensor.name] = transpose(self.editor, name, source, TO_NCHW, tensor.dtype)
        return self._first[tensor.name]

    def value(self, tensor: tf.Tensor) -> npt.NDArray[Any] | None:
        """The value of `tensor`; ``None`` when it depends on data."""
        if self._view.depends_on_data(tensor):
            return None
        return evaluate_constants(self._view.graph, [tensor])[0]

    def constant(self, name: str, value: npt.NDArray[Any]) -> str:
        """Adds a constant called like `name`; its name."""
        return self.editor.add(const_node(self.editor.unique_name(f"{name}/nhwc"), value))


def turned(value: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """`value`, which is broadcast to an NCHW tensor, as it is broadcast to the NHWC one."""
    if value.ndim == 0:
        return value
    full = value.reshape((1,) * (RANK - value.ndim) + value.shape)
    return np.ascontiguousarray(full.transpose(TO_NHWC))

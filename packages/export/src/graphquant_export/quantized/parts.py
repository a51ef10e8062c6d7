"""Nodes that several forms have: names, biases."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.graph.frozen import GraphDefEditor
from graphquant_core.graph.frozen.node_def import const_node, node_def
from graphquant_export.quantized.layer import QuantizedLayer

Number = TypeVar("Number", bound=np.generic)


def free_scope(editor: GraphDefEditor, layer: QuantizedLayer, name: str) -> str:
    """`name` in the scope that `layer` stands in, made unique as TensorFlow does."""
    parent = layer.name.rpartition("/")[0]
    return editor.unique_name(f"{parent}/{name}" if parent else name)


def channel_vector(layer: QuantizedLayer, values: npt.NDArray[Number]) -> npt.NDArray[Number]:
    """`values`, ``[C]``, in the shape that `add_bias` takes."""
    return values if layer.data_format is not None else layer.along_channels(values)


def cast_codes(editor: GraphDefEditor, name: str, cast: str, codes: npt.NDArray[np.generic]) -> str:
    """Name of the float32 Cast, called `cast`, of the Const `codes`, called `name`."""
    const = editor.add(const_node(name, codes))
    source = tf.as_dtype(codes.dtype)
    return editor.add(node_def(cast, "Cast", [const], SrcT=source, DstT=tf.float32, Truncate=False))


def add_bias(
    editor: GraphDefEditor, layer: QuantizedLayer, scope: str, sums: str, bias: str
) -> str:
    """Name of the sum of `sums` and `bias`, which has the shape of `channel_vector`.

    A BiasAdd where it knows the axis of the channels, elsewhere an AddV2.
    """
    name, data_format = f"{scope}/BiasAdd", layer.data_format
    if data_format is None:
        return editor.add(node_def(name, "AddV2", [sums, bias], T=tf.float32))
    return editor.add(
        node_def(name, "BiasAdd", [sums, bias], T=tf.float32, data_format=data_format)
    )

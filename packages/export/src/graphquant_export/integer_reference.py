"""The exact truth about a deployed graph: the graph itself, its sums in float64.

Between AscendQuant and AscendDequant everything is an integer. In float64 such sums are exact up
to 2^53, so that the result is what integer hardware computes, for every op that TensorFlow can
run in float64, third-party layers included. Nothing else in the graph changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.exceptions import ModelFileError
from graphquant_core.graph import GraphView
from graphquant_core.graph.frozen import (
    GraphDefEditor,
    check_outputs,
    cpu_session,
    import_frozen,
    tensor_name,
)
from graphquant_core.graph.frozen.channels_last import CHANNELS_LAST_PORTS, make_channels_last
from graphquant_core.graph.frozen.node_def import node_def
from graphquant_export.targets.ascend import (
    ASCEND_TYPES,
    ascend_functions,
    without_ascend_functions,
)

SOURCES = frozenset({"AscendQuant", "AscendWeightQuant"})
SINKS = ASCEND_TYPES - SOURCES


def integer_reference(
    graph_def: tf.compat.v1.GraphDef,
    outputs: Sequence[str],
    feeds: Mapping[str, npt.ArrayLike],
) -> list[npt.NDArray[Any]]:
    """Value of each of `outputs`, with exact sums in every deployed layer.

    Args:
        graph_def: A quantised graph, with or without its function library.
        outputs: Names of the ops whose first output is wanted.
        feeds: Value of each placeholder, by name (``"x"`` or ``"x:0"``).

    Raises:
        OutputNotFoundError: An output is not in the graph.
        ModelFileError: An op between AscendQuant and AscendDequant doesn't run in float64.
    """
    names = check_outputs(graph_def, outputs)
    graph = import_frozen(integer_graph(graph_def, names))
    fed = {f"{tensor_name(name)}:0": np.asarray(value) for name, value in feeds.items()}
    try:
        with cpu_session(graph) as session:
            values = session.run([f"{tensor_name(name)}:0" for name in outputs], fed)
    except tf.errors.OpError as error:
        # There is no kernel, or there is one that refuses.
        if not isinstance(error, tf.errors.UnimplementedError) and "OpKernel" not in error.message:
            raise
        raise ModelFileError(f"the graph does not run in float64: {error.message}") from error
    return [np.asarray(value) for value in values]


def integer_graph(
    graph_def: tf.compat.v1.GraphDef, outputs: Sequence[str]
) -> tf.compat.v1.GraphDef:
    """`graph_def` with float64 between AscendQuant and AscendDequant, and its function library.

    Convolutions and poolings in NCHW, which the CPU has no float64 kernels for, become NHWC
    between two transpositions.

    Raises:
        ModelFileError: The graph has no deployed layer, or TensorFlow refuses it.
    """
    stripped = without_ascend_functions(graph_def)
    graph = import_frozen(_with_functions(stripped, tf.float32))
    region = _region(graph)
    editor = GraphDefEditor(stripped)
    for op in region:
        _retype(editor, op, region)
    for op in region:
        if op.type in CHANNELS_LAST_PORTS and op.get_attr("data_format") == b"NCHW":
            make_channels_last(editor, op.name, op.type)
    return _with_functions(editor.graph_def(outputs), tf.float64)


def _with_functions(graph_def: tf.compat.v1.GraphDef, sums: tf.DType) -> tf.compat.v1.GraphDef:
    result = tf.compat.v1.GraphDef()
    result.CopyFrom(graph_def)
    result.library.function.extend(ascend_functions(sums))
    return result


def _region(graph: tf.Graph) -> dict[tf.Operation, None]:
    """The ops whose float inputs are integers: those behind AscendQuant, the sinks included."""
    view = GraphView(graph)
    waiting = [op for op in view.operations if op.type in SOURCES]
    if not waiting:
        raise ModelFileError("the graph has no AscendQuant: give a <save_path>_quantized.pb")
    region: dict[tf.Operation, None] = {}
    while waiting:
        for op in _float_consumers(view, waiting.pop(0)):
            if op not in region:
                region[op] = None
                if op.type not in SINKS:
                    waiting.append(op)
    return region


def _float_consumers(view: GraphView, op: tf.Operation) -> Iterator[tf.Operation]:
    for tensor in op.outputs:
        if tensor.dtype == tf.float32:
            for consumer, _ in view.consumers(tensor):
                yield consumer


def _retype(editor: GraphDefEditor, op: tf.Operation, region: Mapping[tf.Operation, None]) -> None:
    for port, tensor in enumerate(op.inputs):
        inside = tensor.op.type in SOURCES or (tensor.op in region and tensor.op.type not in SINKS)
        if tensor.dtype == tf.float32 and not inside:
            editor.set_input(op.name, port, _as_float64(editor, op, tensor))
    if op.type in SINKS:
        return
    for attribute in editor.node(op.name).attr.values():
        if attribute.type == tf.float32.as_datatype_enum:
            attribute.type = tf.float64.as_datatype_enum
        for index, dtype in enumerate(attribute.list.type):
            if dtype == tf.float32.as_datatype_enum:
                attribute.list.type[index] = tf.float64.as_datatype_enum


def _as_float64(editor: GraphDefEditor, op: tf.Operation, tensor: tf.Tensor) -> str:
    # A bias comes as Cast(int32): from float32 it would come back rounded to 24 bits.
    source = tensor.op.inputs[0] if tensor.op.type == "Cast" else tensor
    if not source.dtype.is_integer:
        source = tensor
    name = editor.unique_name(f"{op.name}/exact")
    return editor.add(
        node_def(name, "Cast", [tensor_name(source.name)], SrcT=source.dtype, DstT=tf.float64)
    )

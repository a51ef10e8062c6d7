"""The exact truth about a graph of integers: the graph itself, its sums in float64.

Between quantisers and dequantisations everything is an integer. In float64 such sums are exact up
to 2^53, so that the result is what integer hardware computes, for every op that TensorFlow can
run in float64, third-party layers included. Nothing else in the graph changes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import attrs
import tensorflow as tf
from tensorflow.core.framework.function_pb2 import FunctionDef

from graphquant_core.exceptions import ModelFileError
from graphquant_core.graph import GraphView
from graphquant_core.graph.frozen import GraphDefEditor, import_frozen, tensor_name
from graphquant_core.graph.frozen.channels_last import CHANNELS_LAST_PORTS, make_channels_last
from graphquant_core.graph.frozen.node_def import node_def
from graphquant_core.listing import either


@attrs.frozen
class IntegerOps:
    """The ops that stand where floats become integers, and where integers become floats again.

    Attributes:
        sources: Types of the ops that return integers.
        sinks: Types of the ops that take them and return floats.
        functions: The functions that define them, by the type that sums have.
    """

    sources: frozenset[str]
    sinks: frozenset[str]
    functions: Callable[[tf.DType], list[FunctionDef]]

    @property
    def types(self) -> frozenset[str]:
        """All of them."""
        return self.sources | self.sinks


def exact_sums(
    graph_def: tf.compat.v1.GraphDef, outputs: Sequence[str], ops: IntegerOps
) -> tf.compat.v1.GraphDef:
    """`graph_def` with float64 between its sources and its sinks, and their function library.

    Convolutions and poolings in NCHW, which the CPU has no float64 kernels for, become NHWC
    between two transpositions.

    Args:
        graph_def: A graph of integers, with or without its function library.
        outputs: Names of the ops that are its outputs.
        ops: The ops of integers in it.

    Raises:
        ModelFileError: The graph has no deployed layer, or TensorFlow refuses it.
    """
    stripped = without_functions(graph_def, ops.types)
    graph = import_frozen(_with_functions(stripped, ops, tf.float32))
    region = _region(graph, ops)
    editor = GraphDefEditor(stripped)
    for op in region:
        _retype(editor, op, region, ops)
    for op in region:
        if op.type in CHANNELS_LAST_PORTS and op.get_attr("data_format") == b"NCHW":
            make_channels_last(editor, op.name, op.type)
    return _with_functions(editor.graph_def(outputs), ops, tf.float64)


def without_functions(
    graph_def: tf.compat.v1.GraphDef, names: Collection[str]
) -> tf.compat.v1.GraphDef:
    """A copy of `graph_def` without the functions called `names`."""
    result = tf.compat.v1.GraphDef()
    result.CopyFrom(graph_def)
    kept = [f for f in graph_def.library.function if f.signature.name not in names]
    del result.library.function[:]
    result.library.function.extend(kept)
    if not kept and not result.library.gradient:
        result.ClearField("library")
    return result


def _with_functions(
    graph_def: tf.compat.v1.GraphDef, ops: IntegerOps, sums: tf.DType
) -> tf.compat.v1.GraphDef:
    result = tf.compat.v1.GraphDef()
    result.CopyFrom(graph_def)
    result.library.function.extend(ops.functions(sums))
    return result


def _region(graph: tf.Graph, ops: IntegerOps) -> dict[tf.Operation, None]:
    """The ops whose float inputs are integers: those behind the sources, the sinks included."""
    view = GraphView(graph)
    waiting = [op for op in view.operations if op.type in ops.sources]
    if not waiting:
        raise ModelFileError(f"the graph has no {either(sorted(ops.sources))}")
    region: dict[tf.Operation, None] = {}
    while waiting:
        for op in _float_consumers(view, waiting.pop(0)):
            if op not in region:
                region[op] = None
                if op.type not in ops.sinks:
                    waiting.append(op)
    return region


def _float_consumers(view: GraphView, op: tf.Operation) -> Iterator[tf.Operation]:
    for tensor in op.outputs:
        if tensor.dtype == tf.float32:
            for consumer, _ in view.consumers(tensor):
                yield consumer


def _retype(
    editor: GraphDefEditor,
    op: tf.Operation,
    region: Mapping[tf.Operation, None],
    ops: IntegerOps,
) -> None:
    for port, tensor in enumerate(op.inputs):
        inside = tensor.op.type in ops.sources or (
            tensor.op in region and tensor.op.type not in ops.sinks
        )
        if tensor.dtype == tf.float32 and not inside:
            editor.set_input(op.name, port, _as_float64(editor, op, tensor))
    if op.type in ops.sinks:
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

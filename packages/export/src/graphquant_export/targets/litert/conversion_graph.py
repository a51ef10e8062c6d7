"""The graph that the converter gets: no loops, channels last, with marks and with opaque names.

The converter merges names ("conv/Relu;conv/BiasAdd") and numbers what is equal ("conv1"), so that a
name can't be told from a name with a number. Names of the form ``n17_`` can.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence

import attrs
import tensorflow as tf

from graphquant_core.graph import GraphView
from graphquant_core.graph.frozen import GraphDefEditor, import_frozen
from graphquant_core.graph.frozen.channels_last import CHANNELS_LAST_PORTS, make_channels_last
from graphquant_core.graph.frozen.node_def import node_def
from graphquant_export.inputs.branches.undecided import refuse_conditions
from graphquant_export.loops import without_loops
from graphquant_export.targets.litert.marks import Marks
from graphquant_export.targets.litert.twins import keep_twins_apart

logger = logging.getLogger(__name__)

_OPAQUE = re.compile(r"n\d+_")


@attrs.frozen(eq=False)
class ConversionGraph:
    """What is converted.

    Attributes:
        graph_def: Nodes with opaque names.
        model: The same nodes under their own names, without marks.
        inputs: Opaque names of the placeholders, in the order of the graph.
        outputs: Opaque names of the outputs, in the order of the model's.
        names: Names in the model by opaque name; a mark that was put in has none.
        order: Place of each opaque name in an order in which every node follows its inputs.
        marks: Name of each numbered fake quantiser, ``None`` for one that was put in.
    """

    graph_def: tf.compat.v1.GraphDef = attrs.field(repr=False)
    model: tf.compat.v1.GraphDef = attrs.field(repr=False)
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    names: Mapping[str, str] = attrs.field(repr=False)
    order: Mapping[str, int] = attrs.field(repr=False)
    marks: Mapping[int, str | None] = attrs.field(repr=False)

    def nodes(self, tensor_name: str) -> list[str]:
        """The nodes that a name given by the converter is made of, the one computed last first."""
        found = {match.group() for part in tensor_name.split(";") if (match := _OPAQUE.match(part))}
        known = sorted(found & self.order.keys(), key=self.order.__getitem__, reverse=True)
        return [self.names[name] for name in known if name in self.names]


def conversion_graph(
    graph_def: tf.compat.v1.GraphDef,
    outputs: Sequence[str],
    layers: Iterable[str],
    results: Iterable[str],
    quantizers: Iterable[str],
) -> ConversionGraph:
    """`graph_def` as the converter gets it.

    Args:
        graph_def: A frozen graph.
        outputs: Names of its outputs.
        layers: Nodes that compute layers, each of which needs an operator of its own.
        results: Nodes behind which nothing but Relu and Relu6 may be merged with what is before.
        quantizers: Names of the fake quantisers of layers.

    Raises:
        UnsupportedLayerError: A loop has no static number of steps.
    """
    graph_def = without_loops(graph_def, outputs, "LiteRT")
    editor = GraphDefEditor(graph_def)
    _to_channels_last(editor, graph_def)
    model = editor.graph_def(outputs)
    marks = Marks(editor, quantizers)
    keep_twins_apart(editor, marks, layers)
    for result in dict.fromkeys(results):
        marks.keep_apart(result)
    graph = import_frozen(editor.graph_def(outputs))
    refuse_conditions(graph, "LiteRT")
    for op in graph.get_operations():
        if op.type == "PlaceholderWithDefault":
            logger.warning(
                'the placeholder "%s" has a default, which the file holds: it is no input', op.name
            )
    view = GraphView(graph)
    ends = []
    for name in outputs:
        tensor = graph.get_operation_by_name(name).outputs[0]
        # An output would lose the names of what it is merged with. A constant would be folded
        # with its mark, on whose grid it is zero.
        marked = tensor.dtype == tf.float32 and view.depends_on_data(tensor)
        taken = marks.add(name) if marked else name
        end = editor.unique_name(f"{name}/output")
        ends.append(editor.add(node_def(end, "Identity", [taken], T=tensor.dtype)))
    return _renamed(editor.graph_def(ends), model, ends, marks.names)


def _to_channels_last(editor: GraphDefEditor, graph_def: tf.compat.v1.GraphDef) -> None:
    for node in graph_def.node:
        if node.op in CHANNELS_LAST_PORTS and node.attr["data_format"].s == b"NCHW":
            make_channels_last(editor, node.name, node.op)


def _renamed(
    graph_def: tf.compat.v1.GraphDef,
    model: tf.compat.v1.GraphDef,
    outputs: Sequence[str],
    marks: Mapping[int, str | None],
) -> ConversionGraph:
    opaque = {node.name: f"n{index}_" for index, node in enumerate(graph_def.node)}
    order = {opaque[name]: place for place, name in enumerate(_sorted(graph_def))}
    inputs = tuple(opaque[node.name] for node in graph_def.node if node.op == "Placeholder")
    names = {opaque[node.name]: node.name for node in model.node}
    for node in graph_def.node:
        node.name = opaque[node.name]
        for port, taken in enumerate(node.input):
            name = _op_name(taken)
            node.input[port] = taken.replace(name, opaque[name], 1)
    ends = tuple(opaque[name] for name in outputs)
    return ConversionGraph(graph_def, model, inputs, ends, names, order, marks)


def _sorted(graph_def: tf.compat.v1.GraphDef) -> list[str]:
    """Names of the nodes, each behind those that it takes; a loop is entered anywhere."""
    inputs = {node.name: [_op_name(name) for name in node.input] for node in graph_def.node}
    done: dict[str, None] = {}
    seen: set[str] = set()
    for start in inputs:
        waiting = [start]
        while waiting:
            name = waiting[-1]
            following = [] if name in seen else [n for n in inputs[name] if n not in seen]
            seen.add(name)
            if following:
                waiting.extend(following)
            else:
                done.setdefault(waiting.pop())
    return list(done)


def _op_name(tensor: str) -> str:
    return tensor.removeprefix("^").partition(":")[0]

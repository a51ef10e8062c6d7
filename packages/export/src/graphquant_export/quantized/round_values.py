"""The simulation of one target: fake quantisers where it rounds values, besides those of layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs
import tensorflow as tf

from graphquant_core.graph.frozen import GraphDefEditor
from graphquant_core.graph.frozen.node_def import fake_quantizer
from graphquant_core.value_grid import ValueGrid


@attrs.frozen
class ValueQuantizer:
    """A fake quantiser of a value where it arises.

    Attributes:
        name: Name of its node: that of an output of the model, or one in a scope of its own.
        source: Name of the node that it takes.
        grid: Its grid.
    """

    name: str
    source: str
    grid: ValueGrid


def round_values(
    graph_def: tf.compat.v1.GraphDef, outputs: Sequence[str], grids: Mapping[str, ValueGrid]
) -> tuple[tf.compat.v1.GraphDef, tuple[ValueQuantizer, ...]]:
    """`graph_def` with a fake quantiser behind each tensor in `grids`, for all that takes it.

    An output of the model keeps its name, and its node gets the ending ``_unrounded``.

    Args:
        graph_def: A frozen graph.
        outputs: Names of the ops that are its outputs.
        grids: Grid of each tensor, by its name (``"op"`` or ``"op:1"``).

    Returns:
        The graph, and the fake quantisers that were added.
    """
    editor = GraphDefEditor(graph_def)
    added = [_round(editor, outputs, tensor, grid) for tensor, grid in grids.items()]
    return editor.graph_def(outputs), tuple(added)


def _round(
    editor: GraphDefEditor, outputs: Sequence[str], tensor: str, grid: ValueGrid
) -> ValueQuantizer:
    consumers = editor.consumers(tensor)
    if tensor in outputs:
        name, tensor = tensor, editor.unique_name(f"{tensor}_unrounded")
        editor.rename(name, tensor)
    else:
        scope = editor.unique_name(f"{tensor.replace(':', '_')}/result_quant")
        name = f"{scope}/FakeQuant"
    editor.add(fake_quantizer(name, tensor, grid.scale, grid.zero_point))
    for consumer, port in consumers:
        editor.set_input(consumer, port, name)
    return ValueQuantizer(name, tensor, grid)

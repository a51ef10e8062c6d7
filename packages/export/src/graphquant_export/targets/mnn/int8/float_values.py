"""Where floats must be kept apart from the grids that MNN's runtime spreads through a graph.

The runtime hands the grid of a tensor on through poolings, activation functions and ops that move
values, and then computes those ops with int8, poolings wrongly. An op that grids are not handed
through keeps its input and its output apart; it must be one that the converter doesn't remove.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import attrs
import tensorflow as tf

from graphquant_core.graph import GraphView
from graphquant_core.graph.affine import ADDING_TYPES
from graphquant_core.graph.frozen.shape_ops import SHAPE_TYPES
from graphquant_core.layer import Layer
from graphquant_export.targets.mnn.int8.activation_grid import ActivationGrid
from graphquant_export.targets.mnn.int8.moved_values import INEXACT_TYPES, SPREADING_TYPES
from graphquant_export.targets.mnn.op_names import conv_groups

Edge = tuple[str, int]

_WITH_TWO_GRIDS = frozenset({"AvgPool", "LeakyRelu", "MaxPool", "Relu6"})
"""What MNN computes with floats when its input and its output have different grids."""

_POOLINGS = frozenset({"AvgPool", "MaxPool"})
_FLOAT_TYPES = frozenset({"Add", "AddN", "AddV2", "BiasAdd", "Conv2D", "MatMul", "Mean", "Sigmoid"})
"""What MNN has no int8 form of that it could choose by itself."""


@attrs.frozen(eq=False)
class QuantizedValues:
    """The tensors of a graph without fake quantisers that lie on a grid in MNN.

    Attributes:
        results: Grid of the result of each int8 layer, by the name of its op.
        inputs: Grid of what each int8 layer takes, by the edge where it is quantised:
            (op name, port) of the layer, or of the Pad or Split before it.
        layers: The int8 layers, by the name of their op.
        outputs: Names of the outputs of the model.
    """

    results: Mapping[str, ActivationGrid]
    inputs: Mapping[Edge, ActivationGrid]
    layers: Mapping[str, Layer]
    outputs: Collection[str]


def edges_to_part(
    view: GraphView, values: QuantizedValues, known: Iterable[Edge] = ()
) -> tuple[Edge, ...]:
    """The edges of the graph, (op name, port), that need a float op in between.

    Args:
        view: View of the graph.
        values: What of it lies on a grid.
        known: Edges that need one for another reason.
    """
    parted: dict[Edge, None] = dict.fromkeys(known)
    for edge in values.inputs:
        parted.update(dict.fromkeys(_edges_behind_inexact_ops(view, values, edge)))
    for edge in values.inputs:
        if _parts_input(view, values, edge, parted):
            parted[edge] = None
    spread = {
        tensor.name
        for edge in values.inputs
        if edge not in parted
        for tensor in _spread(view, values, [edge], parted)
    }
    for op in view.operations:
        if op.type not in INEXACT_TYPES or has_two_grids(view, values, op):
            continue
        edges = [(op.name, port) for port, x in enumerate(op.inputs) if x.dtype == tf.float32]
        for edge in edges:
            if any(
                tensor.name in spread or tensor.op.name in values.results
                for tensor in _spread(view, values, [edge], parted)
            ):
                parted[edge] = None
    return tuple(parted)


def has_two_grids(view: GraphView, values: QuantizedValues, op: tf.Operation) -> bool:
    """Whether an int8 layer makes the input of `op` and only int8 layers take its result."""
    if op.type not in _WITH_TWO_GRIDS or op.name in values.outputs:
        return False
    if op.inputs[0].op.name not in values.results:
        return False
    edges = _edges(view, op.outputs[0])
    grids = {values.inputs.get(edge) for edge in edges}
    return (
        len(grids) == 1
        and None not in grids
        and all(
            name in values.layers
            and values.layers[name].op_type != "MatMul"
            and conv_groups(values.layers[name]) == 1
            for name, _ in edges
        )
    )


def with_distinct_grids(view: GraphView, values: QuantizedValues) -> Mapping[str, ActivationGrid]:
    """`values.results`, none equal to the grid behind a pooling that has two.

    The next float32 scale makes them different, and no code.
    """
    results = dict(values.results)
    for op in view.operations:
        if op.type in _POOLINGS and has_two_grids(view, values, op):
            source = op.inputs[0].op.name
            if results[source] == values.inputs[_edges(view, op.outputs[0])[0]]:
                results[source] = results[source].scaled_up()
    return results


def _edges_behind_inexact_ops(
    view: GraphView, values: QuantizedValues, edge: Edge
) -> Iterator[Edge]:
    """The edges that the grid at `edge` would be spread over to an op that needs floats."""
    waiting, seen = [edge], {edge}
    while waiting:
        taken = waiting.pop()
        source = _tensor(view, taken).op
        if source.name in values.results or has_two_grids(view, values, source):
            continue
        if source.type in INEXACT_TYPES:
            yield taken
            continue
        edges = [edge for edge in _spread_over(source) if edge not in seen]
        seen.update(edges)
        waiting.extend(edges)


def _spread(
    view: GraphView, values: QuantizedValues, edges: Sequence[Edge], parted: Collection[Edge]
) -> Iterator[tf.Tensor]:
    """Every tensor that the grid at `edges` is spread to backwards, results at its ends too."""
    waiting, seen = list(edges), set(edges)
    while waiting:
        tensor = _tensor(view, waiting.pop())
        yield tensor
        if tensor.op.name not in values.results:
            found = [e for e in _spread_over(tensor.op) if e not in seen and e not in parted]
            seen.update(found)
            waiting.extend(found)


def _spread_over(op: tf.Operation) -> list[Edge]:
    """The inputs of `op` that the grid of its result is spread to."""
    if op.type not in SPREADING_TYPES:
        return []
    return [(op.name, port) for port, x in enumerate(op.inputs) if x.dtype == tf.float32]


def _parts_input(
    view: GraphView, values: QuantizedValues, edge: Edge, parted: Collection[Edge]
) -> bool:
    """Whether a grid at `edge` would reach values that something else takes as floats."""
    source, grid = _tensor(view, edge), values.inputs[edge]
    if source.op.name in values.results:
        return values.results[source.op.name] != grid
    if edge in parted or has_two_grids(view, values, source.op):
        return False
    region = [
        tensor
        for tensor in _spread(view, values, [edge], parted)
        if tensor.op.name not in values.results
    ]
    inside = {tensor.op.name for tensor in region}
    return any(_is_float_elsewhere(view, values, tensor, grid, inside) for tensor in region)


def _is_float_elsewhere(
    view: GraphView,
    values: QuantizedValues,
    tensor: tf.Tensor,
    grid: ActivationGrid,
    inside: Collection[str],
) -> bool:
    edges = [edge for edge in _edges(view, tensor) if edge[0] not in inside]
    others = [edge for edge in edges if values.inputs.get(edge) != grid]
    if tensor.op.type in _FLOAT_TYPES:
        # It returns floats. Another grid would clash with this one, and what the converter puts a
        # change of layout in front of, as it may of all but a sum, would get codes of this one.
        return any(edge in values.inputs or not _is_sum(view, edge) for edge in others)
    return bool(others) or tensor.op.name in values.outputs


def _is_sum(view: GraphView, edge: Edge) -> bool:
    return view.graph.get_operation_by_name(edge[0]).type in ADDING_TYPES


def _edges(view: GraphView, tensor: tf.Tensor) -> Sequence[Edge]:
    takers = view.consumers(tensor)
    return [(op.name, port) for op, port in takers if op.type not in SHAPE_TYPES]


def _tensor(view: GraphView, edge: Edge) -> tf.Tensor:
    return view.graph.get_operation_by_name(edge[0]).inputs[edge[1]]

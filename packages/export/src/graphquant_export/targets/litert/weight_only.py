"""Weight-only models: int8 or int4 weights with DEQUANTIZE, everything else float."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from graphquant_core.exceptions import RangeError
from graphquant_core.graph import GraphView
from graphquant_core.graph.frozen import GraphDefEditor, import_frozen
from graphquant_core.layer import Layer
from graphquant_core.weight_record import WeightGrid, WeightRecord
from graphquant_export.quantized.float_weights import warn_of_float_weights
from graphquant_export.quantized.weight_codes import SMALLEST_SCALE, mnn_quantize
from graphquant_export.quantized.weight_groups import mnn_grouping
from graphquant_export.quantized.weight_layers import weight_layers, weight_plan
from graphquant_export.targets.litert.conversion_graph import conversion_graph
from graphquant_export.targets.litert.convert import convert
from graphquant_export.targets.litert.emit import emit
from graphquant_export.targets.litert.float_graph import FloatGraph, read_float_graph
from graphquant_export.targets.litert.grids import Grids
from graphquant_export.targets.litert.integer_plan import IntegerPlan
from graphquant_export.targets.litert.kinds import WEIGHT_PORTS
from graphquant_export.targets.litert.stored_weight import INT4_BITS, StoredWeight
from graphquant_export.targets.litert.weights import KINDS, layer_names

logger = logging.getLogger(__name__)

FROM_MNN = {
    "CONV_2D": (0, 2, 3, 1),
    "DEPTHWISE_CONV_2D": (3, 1, 2, 0),
    "FULLY_CONNECTED": (0, 1),
    "TRANSPOSE_CONV": (1, 2, 3, 0),
}
"""Order in which an operator takes the axes of the weight that MNN cuts into groups."""


def weight_only_model(
    model: tf.compat.v1.GraphDef, outputs: Sequence[str], record: WeightRecord
) -> Any:
    """The ``ModelT`` of `model` with the weights of `record` as integers.

    Each group gets the grid that follows from its weights: the one that they lie on, times the
    factor of a batch norm that is folded into them.

    Raises:
        UnsupportedLayerError: A layer is not in the model.
        RangeError: A weight is not on its grid; names the layer.
    """
    pruned = GraphDefEditor(model).graph_def(outputs)
    view = GraphView(import_frozen(pruned))
    wanted = weight_layers(view, record)
    nodes = [layer.name for layer in wanted]
    prepared = conversion_graph(pruned, outputs, nodes, [], [])
    graph = read_float_graph(convert(prepared), prepared)
    weights: dict[int, StoredWeight] = {}
    folded = []
    for layer, entry in wanted.items():
        index = _operator(graph, layer)
        stored = None if index is None else _stored(graph, index, layer, entry)
        if index is None or stored is None:
            folded.append(layer.name)
        else:
            weights[index] = stored
    known = weight_plan(view.graph, view=view)
    warn_of_float_weights(logger, known, record, "LiteRT", folded)
    plan = IntegerPlan({}, {})
    names = layer_names(graph, pruned)
    return emit(graph, Grids(graph, {}), plan, weights, names, outputs, False)


def _operator(graph: FloatGraph, layer: Layer) -> int | None:
    for index, op in enumerate(graph.ops):
        if op.kind in KINDS[layer.op_type] and layer.name in op.nodes:
            return index
    return None


def _stored(graph: FloatGraph, index: int, layer: Layer, entry: WeightGrid) -> StoredWeight | None:
    """The weight as integers; ``None`` when a batch norm took it off its grid.

    Raises:
        RangeError: It lies on none.
    """
    op = graph.ops[index]
    ports = WEIGHT_PORTS[op.kind]
    weight = graph.constant(op.inputs[ports.weight].tensor)
    if weight is None:
        return None
    grouping = mnn_grouping(layer, entry.block_size)
    channels, order = bool(grouping.axes), FROM_MNN[op.kind]
    axis = ports.channel_axis if channels else 0
    groups = np.moveaxis(weight, axis, 0) if channels else weight.transpose(np.argsort(order))
    rows = groups.reshape(grouping.count, -1)
    quantized = mnn_quantize(rows, entry.bits, entry.asymmetric)
    live = quantized.scale > SMALLEST_SCALE
    off = quantized.off_grid(rows)
    if off.any():
        if layer.op_type == "Conv2DBackpropInput":
            return None
        raise RangeError(
            f'layer "{layer.name}": {np.count_nonzero(off)} of {rows.size} weights are not '
            f"on the grid of {entry.bits} bits that is derived from them; strip_wq_ops() before "
            "freezing puts them there"
        )
    codes = quantized.codes
    if channels:
        codes = np.ascontiguousarray(np.moveaxis(codes.reshape(groups.shape), 0, axis))
    zero_point = -(1 << (entry.bits - 1)) if entry.asymmetric else 0
    return StoredWeight(
        layer.name,
        codes,
        np.where(live, quantized.scale, np.float32(1)),
        axis,
        bits=INT4_BITS if entry.bits <= INT4_BITS else 8,
        zero_point=np.full(grouping.count, zero_point, np.int64),
        offset=quantized.minimum,
        groups=None if channels else (groups.shape, order),
    )

"""The layers of a graph that compression parameters quantise. It imports TensorFlow."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Sequence

from graphquant_core.exceptions import RecordError, UnsupportedLayerError
from graphquant_core.float_layers import warn_of_float_layers, without_asides
from graphquant_core.graph import GraphView
from graphquant_core.layer import Layer, Skip
from graphquant_core.suggestions import closest
from graphquant_export.targets.mnn.compress_params import LayerParams
from graphquant_export.targets.mnn.layers import plan_for_mnn
from graphquant_export.targets.mnn.op_names import mnn_op_names

NO_ENTRY = "the record has no entry for it"
FOLDED = "what is folded into its weight is not the same for all weights of a group"


def checked_params(params: Iterable[LayerParams]) -> tuple[LayerParams, ...]:
    """`params`, the record of a weight-only model, as a tuple.

    Raises:
        RecordError: They hold something else than LayerParams, or nothing.
    """
    layers = tuple(params) if isinstance(params, Iterable) else (params,)
    for layer in layers:
        if not isinstance(layer, LayerParams):
            raise RecordError(
                f"record ({type(layer).__name__}) must be a Record, as read_record() returns it, "
                "for an int8 model, or hold LayerParams, as WeightQuantizer.compress_params() "
                "returns them, for quantised weights"
            )
    if not layers:
        raise RecordError("record () holds no layer: give WeightQuantizer.compress_params()")
    return layers


def quantized_layers(view: GraphView, params: Sequence[LayerParams]) -> dict[Layer, LayerParams]:
    """Each layer that `params` quantise with its entry, in the order of the graph.

    A grouped convolution has an entry for each of its groups, all of one grid.

    Args:
        view: View of the frozen graph.
        params: Entries, by the names that MNN gives the layers.

    Raises:
        UnsupportedLayerError: An entry names no layer, or the groups of one differ.
    """
    wanted = {layer.op_name: layer for layer in params}
    found: dict[Layer, LayerParams] = {}
    known: set[str] = set()
    for layer in plan_for_mnn(view.graph, view=view).layers:
        names = mnn_op_names(view, layer)
        known.update(names)
        grids = {
            (entry.bits, entry.asymmetric, entry.block_size)
            for entry in map(wanted.get, names)
            if entry is not None
        }
        if len(grids) > 1 or 0 < sum(name in wanted for name in names) < len(names):
            raise UnsupportedLayerError(f'layer "{layer.name}": its groups have different grids')
        if grids:
            found[layer] = wanted[names[0]]
    for name in wanted:
        if name not in known:
            raise UnsupportedLayerError(
                f'layer "{name}" of record is not in the model{closest(name, known)}'
            )
    return found


def warn_of_float_weights(
    logger: logging.Logger,
    view: GraphView,
    quantized: Collection[Layer],
    target: str,
    folded: Collection[str] = (),
) -> None:
    """Logs once how many layers with a weight keep it in float, and why.

    Args:
        logger: Logger of the target.
        view: View of the frozen graph.
        quantized: What `quantized_layers` returned.
        target: What runs the model.
        folded: Names of layers among them whose groups a folded batch norm took off their grids.
    """
    names = {layer.name for layer in quantized}
    rows = without_asides(plan_for_mnn(view.graph, view=view).rows)
    floats = []
    for row in rows:
        if isinstance(row, Skip):
            floats.append(row)
        elif row.name in folded or row.name not in names:
            reason = FOLDED if row.name in folded else NO_ENTRY
            floats.append(Skip(row.name, row.op_type, reason))
    warn_of_float_layers(logger, floats, len(rows), target)

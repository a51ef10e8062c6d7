"""Compression parameters, by MNN's names of layers, and the same by TensorFlow's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import tensorflow as tf

from graphquant_core.exceptions import RecordError, UnsupportedLayerError
from graphquant_core.graph import GraphView
from graphquant_core.graph.frozen import GraphDefEditor, check_outputs, import_frozen
from graphquant_core.suggestions import closest
from graphquant_core.weight_record import WeightGrid, WeightRecord
from graphquant_export.quantized.weight_layers import checked_weights
from graphquant_export.targets.mnn.compress_params import LayerParams
from graphquant_export.targets.mnn.known_ops import with_known_ops
from graphquant_export.targets.mnn.layers import plan_for_mnn
from graphquant_export.targets.mnn.op_names import mnn_op_names


def weight_record(
    model: tf.compat.v1.GraphDef, outputs: Sequence[str], params: Iterable[LayerParams]
) -> WeightRecord:
    """`params` by the names of TensorFlow, in their order.

    Args:
        model: The frozen graph.
        outputs: Names of the ops that are its outputs.
        params: As `WeightQuantizer.compress_params` returns them, or a file holds them. A grouped
            convolution has an entry for each of its groups, all of one grid.

    Raises:
        RecordError: `params` hold something else than LayerParams, or nothing.
        OutputNotFoundError: An output is not in the model.
        UnsupportedLayerError: An entry names no layer, or the groups of one differ.
    """
    layers = checked_params(params)
    view = _converted(model, outputs)
    wanted = {layer.op_name: layer for layer in layers}
    owners: dict[str, str] = {}
    for layer in plan_for_mnn(view.graph, view=view).layers:
        names = mnn_op_names(view, layer)
        owners |= dict.fromkeys(names, layer.name)
        grids = {_grid(wanted[name]) for name in names if name in wanted}
        if len(grids) > 1 or 0 < sum(name in wanted for name in names) < len(names):
            raise UnsupportedLayerError(f'layer "{layer.name}": its groups have different grids')
    for name in wanted:
        if name not in owners:
            raise UnsupportedLayerError(
                f'layer "{name}" of record is not in the model{closest(name, owners)}'
            )
    return WeightRecord({owners[name]: _grid(entry) for name, entry in wanted.items()})


def compress_params(
    model: tf.compat.v1.GraphDef, outputs: Sequence[str], record: WeightRecord
) -> tuple[LayerParams, ...]:
    """What MNN's converter is told of `record`, in its order.

    Args:
        model: The frozen graph.
        outputs: Names of the ops that are its outputs.
        record: How weights of it are quantised.

    Raises: as `layer_params`, and OutputNotFoundError when an output is not in the model.
    """
    return layer_params(_converted(model, outputs), record)


def _converted(model: tf.compat.v1.GraphDef, outputs: Sequence[str]) -> GraphView:
    """View of the graph that MNN's converter is given, whose layers it names."""
    names = check_outputs(model, outputs)
    pruned = GraphDefEditor(model).graph_def(names)
    return GraphView(import_frozen(with_known_ops(pruned, names)))


def layer_params(view: GraphView, record: WeightRecord) -> tuple[LayerParams, ...]:
    """What MNN's converter is told of `record`, in its order.

    Raises:
        RecordError: It holds no layer, or is no such record.
        UnsupportedLayerError: A layer is not in the model, or MNN doesn't quantise it.
    """
    layers = {layer.name: layer for layer in plan_for_mnn(view.graph, view=view).layers}
    params: list[LayerParams] = []
    for name, grid in checked_weights(record).items():
        if name not in layers:
            raise UnsupportedLayerError(
                f'layer "{name}" of record is not in the model{closest(name, layers)}'
            )
        params += [
            LayerParams(op_name, grid.bits, grid.asymmetric, grid.block_size)
            for op_name in mnn_op_names(view, layers[name])
        ]
    return tuple(params)


def checked_params(params: Iterable[LayerParams]) -> tuple[LayerParams, ...]:
    """`params` as a tuple.

    Raises:
        RecordError: They hold something else than LayerParams, or nothing.
    """
    layers = tuple(params) if isinstance(params, Iterable) else (params,)
    for layer in layers:
        if not isinstance(layer, LayerParams):
            raise RecordError(
                f"record ({type(layer).__name__}) must be a Record, as read_record() returns it, "
                "for an int8 model, or a WeightRecord or LayerParams, as WeightQuantizer "
                "returns them, for quantised weights"
            )
    if not layers:
        raise RecordError("record () holds no layer: give WeightQuantizer.weight_record()")
    return layers


def _grid(params: LayerParams) -> WeightGrid:
    return WeightGrid(params.bits, params.asymmetric, params.block_size)

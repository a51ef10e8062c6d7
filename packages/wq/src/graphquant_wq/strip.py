"""mnncompress' `strip_wq_ops`: the layers take constants on the grid, ready to be frozen."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.exceptions import ConfigError, GraphStateError, RangeError
from graphquant_core.graph import BatchNorm, GraphView, Rewrite
from graphquant_core.graph.frozen.fold_batch_norm import parameters
from graphquant_core.graph.guards import check_extensible
from graphquant_export.targets.mnn import mnn_quantize
from graphquant_wq.graph.moved_norm import MovedNorm, moved, norm_behind
from graphquant_wq.graph.records import GraphRecord, QuantizedWeight, record_of
from graphquant_wq.weak_groups import warn_of_weak_groups

v1 = tf.compat.v1
logger = logging.getLogger(__name__)

Float32Array = npt.NDArray[np.float32]


def strip_wq_ops(
    graph: tf.Graph | None = None, *, session: tf.compat.v1.Session | None = None
) -> None:
    """Replace the fake quantisation of `graph` by constants that hold the weights on the grid.

    Afterwards ``convert_variables_to_constants(sess, sess.graph_def, outputs)`` gives a graph
    whose weights MNN's converter quantises to themselves. A batch norm in inference mode right
    behind a layer gives its factor to the weight, so that MNN stores the very numbers of the
    frozen graph. The user's variables stay as they are: a checkpoint that is saved now can be
    trained on. A session that is open goes on computing with the fake quantisation, which gives
    the same results.

    The constants hold the weights and batch norms of this moment. What is restored or trained
    afterwards is not in them: make a `WeightQuantizer` for the graph again to go on, then strip
    again.

    Args:
        graph: The graph; the default one when ``None``.
        session: Session with the weights; by default the last one that `WeightQuantizer.init` or
            `update` saw. It must still be open.

    Raises:
        ConfigError: No `WeightQuantizer` was made for `graph`.
        GraphStateError: `WeightQuantizer.init` was not called, the session is closed, or the
            graph is finalised.
        NonFiniteError: A batch norm's factor or bias is NaN or infinite; names the op.
        RangeError: A strategy's weights are not on a grid that MNN derives; names the layer.
        After any of them the graph is as before.
    """
    graph = v1.get_default_graph() if graph is None else graph
    record = record_of(graph) if isinstance(graph, tf.Graph) else None
    if record is None:
        raise ConfigError(f"graph ({graph!r}): no WeightQuantizer was made for it")
    if record.stripped:
        logger.info("the graph is stripped already")
        return
    view = GraphView(graph)
    found = {name: norm_behind(view, weight.layer) for name, weight in record.weights.items()}
    norms = {name: norm for name, norm in found.items() if norm is not None}
    values = _values(graph, record, session, norms.values())
    _warn_of_weak_groups(record, values)
    moves = {
        name: moved(norm, values, record.weights[name].layer.output_channels or 0)
        for name, norm in norms.items()
    }
    constants = {
        name: on_mnn_grid(weight, values, name in (record.zeros or ()), moves.get(name))
        for name, weight in record.weights.items()
    }
    with Rewrite(graph, view, check=check_extensible) as rewrite:
        _connect_constants(rewrite, record.weights, constants, moves)
        for move in moves.values():
            move.connect(rewrite)
    record.norms = {
        norm.op.name: tuple(tensor.name for tensor in parameters([norm])) for norm in norms.values()
    }
    record.stripped = True
    logger.info("%d layers of the graph take weights on the grid", len(constants))


def on_mnn_grid(
    weight: QuantizedWeight,
    values: Mapping[str, Float32Array],
    keeps_zero: bool,
    move: MovedNorm | None = None,
) -> Float32Array:
    """The weight that `values` has on a grid, as the numbers that MNN stores for it.

    Args:
        weight: The weight.
        values: Values of its tensors, by name.
        keeps_zero: Whether its grid is the symmetric one.
        move: The batch norm whose factor the result has in it.

    Raises:
        RangeError: MNN would derive another grid from them.
    """
    settings = weight.settings_with_zero() if keeps_zero else weight.settings
    factor = None if weight.factor is None else values[weight.factor]
    if move is not None:
        factor = move.factor
    rows = weight.folded_rows(values[weight.output], factor)
    stored = mnn_quantize(rows, settings.bits, settings.asymmetric)
    off = stored.off_grid(rows)
    if off.any():
        raise RangeError(
            f'layer "{weight.layer.name}": strategy "{settings.strategy}" leaves '
            f"{np.count_nonzero(off)} of {rows.size} weights off the grid of {settings.bits} bits "
            "that MNN derives from them"
        )
    return weight.unfolded(stored.values(), factor if move is None else None)


def _values(
    graph: tf.Graph, record: GraphRecord, session: Any, norms: Iterable[BatchNorm]
) -> Mapping[str, Float32Array]:
    if record.zeros is None:
        raise GraphStateError(
            "WeightQuantizer.init(sess) was not called, so that the weights are not known: call it "
            "after the variables are restored"
        )
    session = record.session() if session is None else session
    if session is None:
        raise GraphStateError(
            "the session with the weights is gone: call strip_wq_ops() while it is open, or give "
            "one as session="
        )
    names = record.tensors("weight", "output", "factor")
    names += dict.fromkeys(tensor.name for tensor in parameters(list(norms)))
    try:
        found = session.run([graph.get_tensor_by_name(name) for name in names])
    except (RuntimeError, tf.errors.FailedPreconditionError) as error:
        raise GraphStateError(
            f"the session cannot give the weights ({error}): call strip_wq_ops() while it is open, "
            "or give one as session="
        ) from error
    return dict(zip(names, found, strict=True))


def _warn_of_weak_groups(record: GraphRecord, values: Mapping[str, Float32Array]) -> None:
    """Logs which layers have groups that training left without anything to store."""
    for name, weight in record.weights.items():
        factor = None if weight.factor is None else values[weight.factor]
        rows = weight.folded_rows(values[weight.weight], factor)
        settings = record.settings_of(name)
        warn_of_weak_groups(name, rows, settings)


def _connect_constants(
    rewrite: Rewrite,
    weights: Mapping[str, QuantizedWeight],
    values: Mapping[str, Float32Array],
    moves: Mapping[str, MovedNorm],
) -> None:
    built: dict[tuple[str, str | None], tf.Tensor] = {}
    for name, weight in weights.items():
        op = rewrite.graph.get_operation_by_name(name)
        # Layers that share a weight share the constant unless a norm of their own moved into it.
        key = (weight.output, name if name in moves else None)
        if key not in built:
            scope = weight.output.partition(":")[0].rpartition("/")[0]
            with rewrite.beside(op), v1.name_scope(f"{scope}/"):
                built[key] = tf.constant(values[name], name="on_grid")
        assert weight.layer.weight_port is not None
        rewrite.redirect(op, weight.layer.weight_port, built[key])

"""Weight-only quantisation of a frozen graph, without training."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Iterable, Mapping, Sequence

import attrs
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.exceptions import NoLayersError
from graphquant_core.finite import check_finite
from graphquant_core.float_layers import float_reasons
from graphquant_core.graph import GraphView
from graphquant_core.graph.frozen import (
    GraphDefEditor,
    check_outputs,
    evaluate_constants,
    import_frozen,
)
from graphquant_core.graph.frozen.node_def import const_node
from graphquant_core.layer import Layer, Skip
from graphquant_core.plan import Plan
from graphquant_export.targets.mnn import LayerParams, mnn_grouping, mnn_quantize
from graphquant_export.targets.mnn.layers import plan_for_mnn
from graphquant_export.targets.mnn.op_names import mnn_op_names
from graphquant_wq.graph.folded_factor import folded_factor
from graphquant_wq.graph.records import QuantizedWeight
from graphquant_wq.graph.start import has_pruned_zeros
from graphquant_wq.mse_range import fit_to_best
from graphquant_wq.settings import LayerSettings, Settings, checked_settings
from graphquant_wq.weak_groups import warn_of_weak_groups

logger = logging.getLogger(__name__)

Float32Array = npt.NDArray[np.float32]


@attrs.frozen(eq=False)
class QuantizedWeights:
    """A frozen graph with its weights on grids.

    Attributes:
        graph_def: The graph.
        outputs: Names of the ops that are its outputs.
        params: How each layer is quantised, as the target "mnn" takes it.
        plan: Every layer that MNN quantises, and every one that stays float with the reason.
    """

    graph_def: tf.compat.v1.GraphDef = attrs.field(repr=False)
    outputs: tuple[str, ...]
    params: tuple[LayerParams, ...]
    plan: Plan = attrs.field(repr=False)


def quantize_frozen_weights(
    model: tf.compat.v1.GraphDef,
    outputs: Sequence[str],
    bits: int = 8,
    *,
    asymmetric: bool = False,
    layer_bits: Mapping[str, int] | None = None,
    skip_layers: Iterable[str] = (),
    block_size: int = 0,
    keep_zeros: bool = True,
) -> QuantizedWeights:
    """`model` with each weight on the grid whose range fits it with the least squared error.

    The grids are those that MNN's converter derives from the new weights, so that it finds the
    same codes.

    Args:
        model: Frozen float graph.
        outputs: Names of the ops that are its outputs.
        bits: Bits of every weight, 2 to 8.
        asymmetric: Whether a group has a minimum of its own: better at 4 bits and below.
        layer_bits: Other bits by layer name or pattern; the last that fits counts.
        skip_layers: Names or patterns of layers that stay float.
        block_size: Input channels that share a scale, at least 16; 0 for all of them.
        keep_zeros: Whether a weight some of whose elements are zero gets a grid that zero is on.

    Raises:
        OutputNotFoundError: An output is not in the model.
        ConfigError, BitsError, UnknownNameError: Another argument has a wrong value.
        NoLayersError: No layer is left that MNN quantises.
        NonFiniteError: A weight is NaN or infinite.
        ModelFileError: The model isn't frozen.
    """
    settings = checked_settings(
        bits, asymmetric, "live_range", layer_bits, skip_layers, block_size, "mse", keep_zeros
    )
    names = check_outputs(model, outputs)
    editor = GraphDefEditor(GraphDefEditor(model).graph_def(names))
    graph = import_frozen(editor.graph_def(names))
    view = GraphView(graph)
    plan = plan_for_mnn(graph, view=view)
    settings.check_names(plan)
    described = {layer.name: _describe(view, layer, settings) for layer in plan.layers}
    weights = {name: row for name, row in described.items() if isinstance(row, QuantizedWeight)}
    skips = {name: row for name, row in described.items() if isinstance(row, Skip)}
    plan = Plan(tuple(skips.get(row.name, row) for row in plan.rows))
    if not weights:
        raise NoLayersError(f"the model has no layer left whose weight MNN quantises{_why(plan)}")
    params = _put_on_grids(editor, graph, weights, settings)
    return QuantizedWeights(editor.graph_def(names), names, params, plan)


def _describe(view: GraphView, layer: Layer, settings: Settings) -> QuantizedWeight | Skip:
    """What is quantised of `layer`, and how."""
    wanted = settings.of(layer)
    if wanted is None:
        return Skip(layer.name, layer.op_type, "skip_layers names it")
    op = view.graph.get_operation_by_name(layer.name)
    grouping = mnn_grouping(layer, wanted.block_size)
    factor: tf.Tensor | str | None = None
    # Groups that cross channels depend on what MNN folds into the weight first.
    if grouping.crosses_channels:
        with view.graph.as_default():
            factor = folded_factor(view, layer)
    if isinstance(factor, str):
        return Skip(layer.name, layer.op_type, factor)
    assert layer.weight_port is not None
    weight = op.inputs[layer.weight_port].name
    names = mnn_op_names(view, layer)
    return QuantizedWeight(
        layer, wanted, names, weight, weight, None, None if factor is None else factor.name
    )


def _put_on_grids(
    editor: GraphDefEditor,
    graph: tf.Graph,
    weights: Mapping[str, QuantizedWeight],
    settings: Settings,
) -> tuple[LayerParams, ...]:
    """Lets each layer take a constant on its grid; returns how each op of MNN is quantised."""
    needed = [name for w in weights.values() for name in (w.weight, w.factor) if name is not None]
    tensors = [graph.get_tensor_by_name(name) for name in dict.fromkeys(needed)]
    values = dict(zip(dict.fromkeys(needed), evaluate_constants(graph, tensors), strict=True))
    constants: dict[Hashable, str] = {}
    params: list[LayerParams] = []
    for name, weight in weights.items():
        value = values[weight.weight]
        check_finite(value, f'the weight of layer "{name}"')
        chosen = weight.settings
        if settings.keep_zeros and has_pruned_zeros(value):
            chosen = weight.settings_with_zero()
        shared = (weight.weight, weight.grouping, chosen, weight.factor)
        if shared not in constants:
            factor = None if weight.factor is None else values[weight.factor]
            warn_of_weak_groups(name, weight.folded_rows(value, factor), chosen)
            on_grid = _on_grid(weight, value, factor, chosen)
            constants[shared] = editor.add(
                const_node(editor.unique_name(f"{name}/on_grid"), on_grid)
            )
        assert weight.layer.weight_port is not None
        editor.set_input(name, weight.layer.weight_port, constants[shared])
        params += [
            LayerParams(op_name, chosen.bits, chosen.asymmetric, chosen.block_size)
            for op_name in weight.mnn_names
        ]
    return tuple(params)


def _on_grid(
    weight: QuantizedWeight,
    value: Float32Array,
    factor: Float32Array | None,
    settings: LayerSettings,
) -> Float32Array:
    """`value` on the grid of least squared error; its ends are reached, so MNN finds it again."""
    rows = fit_to_best(weight.folded_rows(value, factor), settings.grid)
    stored = mnn_quantize(rows, settings.bits, settings.asymmetric)
    return weight.unfolded(stored.values(), factor)


def _why(plan: Plan) -> str:
    nothing = ", nor any op of a supported type"
    return f": {float_reasons(plan.skips)}" if plan.skips else nothing

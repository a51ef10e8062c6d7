"""Weight-only quantisation of a frozen graph, without training."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence

import attrs
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
from graphquant_export.targets.mnn import LayerParams, mnn_grouping
from graphquant_export.targets.mnn.layers import plan_for_mnn
from graphquant_export.targets.mnn.op_names import mnn_op_names
from graphquant_wq.calibrate_weights import Calibration, RoundedLayer
from graphquant_wq.graph.folded_factor import folded_factor
from graphquant_wq.graph.records import QuantizedWeight
from graphquant_wq.graph.shift import place_shift, set_constants
from graphquant_wq.graph.start import has_pruned_zeros
from graphquant_wq.settings import Settings, checked_settings
from graphquant_wq.small_groups import SizedWeight, kept_wide
from graphquant_wq.weak_groups import warn_of_weak_groups
from graphquant_wq.weight_unit import WeightUnit

logger = logging.getLogger(__name__)


@attrs.frozen(eq=False)
class QuantizedWeights:
    """A frozen graph with its weights on grids.

    Attributes:
        graph_def: The graph.
        outputs: Names of the ops that are its outputs.
        params: How each layer is quantised, as the targets take it.
        plan: Every layer that MNN quantises, and every one that stays float with the reason.
        rounded: How each weight was rounded, in the order in which the layers run.
        kept_wide: Names of the layers that have 8 bits because their weights are few.
    """

    graph_def: tf.compat.v1.GraphDef = attrs.field(repr=False)
    outputs: tuple[str, ...]
    params: tuple[LayerParams, ...]
    plan: Plan = attrs.field(repr=False)
    rounded: tuple[RoundedLayer, ...] = attrs.field(default=(), repr=False)
    kept_wide: tuple[str, ...] = ()


def quantize_frozen_weights(
    model: tf.compat.v1.GraphDef,
    outputs: Sequence[str],
    bits: int = 8,
    *,
    samples: Mapping[str, npt.ArrayLike] | None = None,
    asymmetric: bool = True,
    layer_bits: Mapping[str, int] | None = None,
    skip_layers: Iterable[str] = (),
    block_size: int = 0,
    keep_zeros: bool = True,
    uniform: bool = False,
    progress: Callable[[int, int], object] | None = None,
) -> QuantizedWeights:
    """`model` with each weight on the grid whose range fits it with the least squared error.

    With samples, layer by layer, weights become those that give the float results from what the
    layer takes once those before it are quantised; GPTQ rounds them; and each output channel gets
    the mean and the deviation back that it had.
    The grids are those that MNN's converter derives from the new weights, so that it finds the
    same codes. The same arguments give the same bytes.

    Args:
        model: Frozen float graph.
        outputs: Names of the ops that are its outputs.
        bits: Bits of every weight, 2 to 8.
        samples: Samples for each placeholder, by its name, without labels: a thousand or so. They
            are run in batches, so that memory stays bounded.
        asymmetric: Whether a group has a minimum of its own: better at 4 bits and below.
        layer_bits: Other bits by layer name or pattern; the last that fits counts.
        skip_layers: Names or patterns of layers that stay float.
        block_size: Input channels that share a scale, at least 16; 0 for all of them.
        keep_zeros: Whether a weight some of whose elements are zero gets a grid that zero is on.
        uniform: Whether layers of few weights have `bits`, too. By default those with at most 32
            weights to a group that `layer_bits` doesn't name have 8, the smallest first, as long
            as the weights grow by at most a tenth in all.
        progress: Called with (layers done, layers in all) after each layer; with `samples`.

    Raises:
        OutputNotFoundError: An output is not in the model.
        ConfigError, BitsError, UnknownNameError: Another argument has a wrong value.
        ConfigError, RangeError: `samples` don't fit the placeholders of the model.
        NoLayersError: No layer is left that MNN quantises.
        NonFiniteError: A weight, a sample or a layer's result is NaN or infinite.
        ModelFileError: The model isn't frozen, or can't be run on `samples`.
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
    asked = {name: weight.settings.bits for name, weight in weights.items()}
    if not uniform:
        weights = _with_small_ones_wide(weights, settings)
    units = _units(editor, graph, weights, settings)
    if samples is None:
        set_constants(editor, {unit.node: unit.nearest() for unit in units})
        rounded = tuple(RoundedLayer(name, "nearest", "no samples") for name in weights)
    else:
        places = {
            name: place_shift(view, editor, weight.layer, names) for name, weight in weights.items()
        }
        shifts = {name: place for name, place in places.items() if place is not None}
        calibration = Calibration(editor.graph_def(names), units, shifts, samples)
        set_constants(editor, calibration.run(progress))
        rounded = tuple(calibration.rounded)
    graph_def = editor.graph_def(names)
    kept_wide = tuple(name for name in weights if weights[name].settings.bits != asked[name])
    params = _params(graph_def, units)
    return QuantizedWeights(graph_def, names, params, plan, rounded, kept_wide)


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


def _with_small_ones_wide(
    weights: Mapping[str, QuantizedWeight], settings: Settings
) -> dict[str, QuantizedWeight]:
    """`weights` with 8 bits for small groups, unless the user gave them others."""
    sized = {
        weight.weight: SizedWeight(
            weight.weight,
            weight.grouping.size * weight.grouping.count,
            weight.grouping.size,
            weight.settings.bits,
        )
        for weight in weights.values()
    }
    for weight in weights.values():
        if settings.names_bits_of(weight.layer):
            sized[weight.weight] = attrs.evolve(sized[weight.weight], free=False)
    wide = kept_wide(tuple(sized.values()))
    return {
        name: attrs.evolve(
            weight,
            settings=attrs.evolve(
                weight.settings, bits=wide.get(weight.weight, weight.settings.bits)
            ),
        )
        for name, weight in weights.items()
    }


def _units(
    editor: GraphDefEditor,
    graph: tf.Graph,
    weights: Mapping[str, QuantizedWeight],
    settings: Settings,
) -> list[WeightUnit]:
    """Each weight once; its layers take a Const of their own with its float value."""
    needed = [name for w in weights.values() for name in (w.weight, w.factor) if name is not None]
    tensors = [graph.get_tensor_by_name(name) for name in dict.fromkeys(needed)]
    values = dict(zip(dict.fromkeys(needed), evaluate_constants(graph, tensors), strict=True))
    units: dict[object, WeightUnit] = {}
    for name, weight in weights.items():
        value = values[weight.weight]
        check_finite(value, f'the weight of layer "{name}"')
        keeps_zeros = settings.keep_zeros and has_pruned_zeros(value)
        chosen = weight.settings_with_zero() if keeps_zeros else weight.settings
        shared = (weight.weight, weight.grouping, chosen, weight.factor)
        if shared not in units:
            factor = None if weight.factor is None else values[weight.factor]
            warn_of_weak_groups(name, weight.folded_rows(value, factor), chosen)
            node = editor.add(const_node(editor.unique_name(f"{name}/on_grid"), value))
            units[shared] = WeightUnit(node, [], chosen, value, factor, keeps_zeros)
        units[shared].layers.append(weight)
        assert weight.layer.weight_port is not None
        editor.set_input(name, weight.layer.weight_port, units[shared].node)
    return list(units.values())


def _params(
    graph_def: tf.compat.v1.GraphDef, units: Sequence[WeightUnit]
) -> tuple[LayerParams, ...]:
    """How each op of MNN is quantised, in the order of the graph."""
    chosen = {weight.layer.name: unit.settings for unit in units for weight in unit.layers}
    view = GraphView(import_frozen(graph_def))
    return tuple(
        LayerParams(
            op_name,
            chosen[layer.name].bits,
            chosen[layer.name].asymmetric,
            chosen[layer.name].block_size,
        )
        for layer in plan_for_mnn(view.graph, view=view).layers
        if layer.name in chosen
        for op_name in mnn_op_names(view, layer)
    )


def _why(plan: Plan) -> str:
    nothing = ", nor any op of a supported type"
    return f": {float_reasons(plan.skips)}" if plan.skips else nothing

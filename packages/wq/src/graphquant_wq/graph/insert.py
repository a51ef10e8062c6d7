"""Put fake quantisation between the weights of a live graph and the layers that take them."""

from __future__ import annotations

import logging
from collections.abc import Hashable

import attrs
import numpy as np
import tensorflow as tf

from graphquant_core.channels import per_channel_shape
from graphquant_core.graph import Rewrite, WeightSource, find_weight_source
from graphquant_core.graph.build_quantizer import build_quantizer
from graphquant_core.graph.rewire import WEIGHT_INPUT, WEIGHT_OUTPUT, mark
from graphquant_core.layer import Layer, Skip
from graphquant_core.plan import Plan
from graphquant_core.quantizers import QuantizerRequest, WeightQuantizer
from graphquant_core.registry import Registry
from graphquant_export.quantized.weight_groups import Grouping, mnn_grouping
from graphquant_export.targets.mnn.op_names import mnn_op_names
from graphquant_wq.graph.folded_factor import folded_factor
from graphquant_wq.graph.records import QuantizedWeight
from graphquant_wq.settings import LayerSettings, Settings

v1 = tf.compat.v1
logger = logging.getLogger(__name__)

STATE_COLLECTION = "graphquant_wq_state"
"""Variables of ours that no Saver and no initialiser of the user's sees; `init` sets them."""


@attrs.frozen
class Inserted:
    """What was inserted.

    Attributes:
        weights: Every layer that is wanted, by name; a Skip where that can't be after all.
        flags: Variable, bool ``[n]``, that says which weights keep zeros; ``None`` if all do.
    """

    weights: dict[str, QuantizedWeight | Skip]
    flags: str | None


def insert_fake_weights(
    rewrite: Rewrite, plan: Plan, settings: Settings, registry: Registry
) -> Inserted:
    """Fake-quantise the weight of every layer of `plan` that `settings` want.

    Layers that take one weight with the same settings share the fake quantisation.

    Raises:
        UnknownNameError: The strategy isn't registered.
        ConfigError: The strategy can't do the mode or the bits.
    """
    chosen = [(layer, settings.of(layer)) for layer in plan.layers]
    wanted = [(layer, given) for layer, given in chosen if given is not None]
    insertion = _Insertion(rewrite, registry)
    if any(given.asymmetric for _, given in wanted):
        insertion.make_flags(len(wanted))
    weights = {layer.name: insertion.quantize(layer, given) for layer, given in wanted}
    return Inserted(weights, insertion.flags)


class _Insertion:
    """One run over the layers: remembers what was built, for layers that share it."""

    def __init__(self, rewrite: Rewrite, registry: Registry) -> None:
        self._rewrite = rewrite
        self._registry = registry
        self._built: dict[Hashable, tuple[str, int | None]] = {}
        self._flag_values: list[tf.Tensor] = []
        self.flags: str | None = None

    def make_flags(self, count: int) -> None:
        """One variable for the flags of all weights: a variable costs a graph many ops."""
        graph = self._rewrite.graph
        with (
            graph.as_default(),
            tf.control_dependencies(None),
            v1.device(None),
            v1.name_scope(None),
            v1.name_scope("weight_quant/"),
        ):
            flags = v1.Variable(
                [False] * count,
                trainable=False,
                collections=[STATE_COLLECTION],
                name="keeps_zero_set_by_WeightQuantizer.init",
                use_resource=True,
            )
            self._flag_values = tf.unstack(flags.read_value(), name="keeps_zero")
        self.flags = flags.op.name

    def quantize(self, layer: Layer, settings: LayerSettings) -> QuantizedWeight | Skip:
        view = self._rewrite.view
        op = view.graph.get_operation_by_name(layer.name)
        assert layer.weight_port is not None
        weight: tf.Tensor = op.inputs[layer.weight_port]
        source = find_weight_source(view, weight)
        assert isinstance(source, WeightSource)
        grouping = mnn_grouping(layer, settings.block_size)
        factor: tf.Tensor | None = None
        if grouping.crosses_channels:
            with self._rewrite.beside(op), v1.name_scope(f"{layer.name}/folded"):
                found = folded_factor(view, layer)
            if isinstance(found, str):
                return Skip(layer.name, layer.op_type, found)
            factor = found
        shared = (source.name, source.path, grouping, settings, factor if factor is None else layer)
        if shared not in self._built:
            strategy = self._registry.weight_quantizer(settings.strategy)
            scope = f"{layer.name.rpartition('/')[0]}/weight_quant".lstrip("/")
            with self._rewrite.beside(op), v1.name_scope(scope):
                folded = None if factor is None else _along_channels(factor, layer)
                flag = len(self._built) if settings.asymmetric else None
                options = {} if flag is None else {"keeps_zero": self._flag_values[flag]}
                request = QuantizerRequest(source.name, settings.grid, options=options)
                output = _build(strategy, weight, folded, grouping, request)
                self._built[shared] = (output, flag)
        output, flag = self._built[shared]
        self._rewrite.redirect(op, layer.weight_port, view.graph.get_tensor_by_name(output))
        names = mnn_op_names(view, layer)
        return QuantizedWeight(
            layer,
            settings,
            names,
            weight.name,
            output,
            flag,
            None if factor is None else factor.name,
        )


def _build(
    strategy: WeightQuantizer,
    weight: tf.Tensor,
    factor: tf.Tensor | None,
    grouping: Grouping,
    request: QuantizerRequest,
) -> str:
    """Name of the tensor on the grid."""
    entry = tf.identity(weight, name="input")
    mark(entry.op, WEIGHT_INPUT)
    folded = entry if factor is None else entry * factor
    grouped, axes = _in_groups(folded, grouping)
    built = build_quantizer(strategy, grouped, attrs.evolve(request, axes=axes))
    on_grid = _as_weight(built.output, grouping)
    if factor is not None:
        on_grid = tf.math.divide_no_nan(on_grid, factor)
    output = tf.identity(on_grid, name="output")
    mark(output.op, WEIGHT_OUTPUT)
    return str(output.name)


def _along_channels(factor: tf.Tensor, layer: Layer) -> tf.Tensor:
    return tf.reshape(
        factor, per_channel_shape(layer.weight_shape or (), layer.weight_channel_axes)
    )


def _in_groups(weight: tf.Tensor, grouping: Grouping) -> tuple[tf.Tensor, tuple[int, ...]]:
    """`weight` in a shape whose axes are the groups, and those axes."""
    if grouping.axes:
        return weight, grouping.axes
    stored = tf.transpose(weight, grouping.order)
    return tf.reshape(stored, [grouping.count, grouping.size]), (0,)


def _as_weight(values: tf.Tensor, grouping: Grouping) -> tf.Tensor:
    """The inverse of `_in_groups`."""
    if grouping.axes:
        return values
    stored = tf.reshape(values, [grouping.weight_shape[axis] for axis in grouping.order])
    return tf.transpose(stored, np.argsort(grouping.order))

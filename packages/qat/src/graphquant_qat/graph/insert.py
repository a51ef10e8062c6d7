"""Put fake quantisers into a live graph, as a retrain configuration says."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping, Sequence

import attrs
import tensorflow as tf

from graphquant_core.exceptions import GraphStateError
from graphquant_core.graph import Rewrite
from graphquant_core.graph.control_flow import control_flow_context, outside_control_flow
from graphquant_core.graph.placing import PlacedQuantizer, QuantizerPlacer
from graphquant_core.graph.replica import current_replica, in_replica, shared_name
from graphquant_core.graph.rewire import ACTIVATION_OUTPUT, WEIGHT_OUTPUT, mark, role_of
from graphquant_core.graph.weight_source import WeightSource, find_weight_source
from graphquant_core.grid import INT8, INT8_NARROW, Grid
from graphquant_core.layer import Layer
from graphquant_core.plan import Plan
from graphquant_core.quantizers import ActivationQuantizer, QuantizerRequest
from graphquant_core.registry import Registry, load_registry
from graphquant_core.target_rules import TargetRules
from graphquant_qat.config.model import ActivationConfig, LayerConfig, RetrainConfig, WeightConfig
from graphquant_qat.graph.bias_grid import BiasGrid, round_biases
from graphquant_qat.graph.bypassed import taken_by_one, trains
from graphquant_qat.graph.insert_values import QuantizedValue, ValueInsertion
from graphquant_qat.graph.rounded_values import plan_values
from graphquant_qat.graph.split_groups import splits_of_groups
from graphquant_qat.graph.take_place import hangs_on

logger = logging.getLogger(__name__)

ZERO_MINIMUM_TYPES = frozenset({"Relu", "Relu6"})
LAYER_QUANTIZERS = (ACTIVATION_OUTPUT, WEIGHT_OUTPUT)
SPLIT_VALUE = 1
"""Input of a Split that is split."""


@attrs.frozen
class QuantizedLayer:
    """A layer with fake quantisers, and the names of the tensors that hold its factors."""

    layer: Layer
    activation: PlacedQuantizer
    weight: PlacedQuantizer | None


@attrs.frozen
class Quantized:
    """What was fake-quantised in a graph.

    Attributes:
        layers: The layers, by name in the plan's order.
        values: The values that are rounded where they arise, by name.
        told: Names of the layers that stay float, of which a warning was logged.
    """

    layers: Mapping[str, QuantizedLayer] = attrs.field(factory=dict)
    values: Mapping[str, QuantizedValue] = attrs.field(factory=dict)
    told: frozenset[str] = frozenset()

    def with_more(self, other: Quantized) -> Quantized:
        """Both together: a strategy rewrites the replicas of a graph one after the other."""
        layers, values = {**self.layers, **other.layers}, {**self.values, **other.values}
        return Quantized(layers, values, self.told | other.told)


def insert_quantizers(
    rewrite: Rewrite,
    plan: Plan,
    config: RetrainConfig,
    done: Quantized,
    rules: TargetRules,
    activation_grid: Grid = INT8,
    weight_grid: Grid = INT8_NARROW,
) -> Quantized:
    """Every enabled layer of `config` with its inputs fake-quantised, and what `rules` round.

    Layers that take one tensor under one activation configuration share a quantiser, and so do
    the groups of a convolution by Split and Concat, and layers with one weight.

    Args:
        rewrite: The open transaction on the graph.
        plan: Plan of the graph.
        config: What to quantise, and how.
        done: What was quantised before; it stays as it is.
        rules: What the target rounds besides the inputs of layers.
        activation_grid: Integers of the activations.
        weight_grid: Integers of the weights.

    Raises:
        UnknownNameError: The configuration enables a layer that the graph cannot quantise, or a
            strategy that isn't registered.
        GraphStateError: A layer that isn't in `done` is fake-quantised already.
    """
    replica = current_replica()
    enabled = {}
    for layer in plan.layers:
        entry = config.layers.get(shared_name(layer.name))
        if entry is not None and entry.retrain_enable and in_replica(layer.name, replica):
            enabled[layer.name] = (layer, entry)
    insertion = _Insertion(rewrite, load_registry(), config.batch_num, activation_grid, weight_grid)
    insertion.splits = splits_of_groups(
        rewrite.view,
        {name: (layer, entry.activation) for name, (layer, entry) in enabled.items()},
    )
    insertion.takers = {
        insertion.taker(layer): entry.activation for layer, entry in enabled.values()
    }
    # A target that rounds values by themselves rounds what the functions return.
    insertion.bypasses = not rules.rounds and trains(rewrite.view)
    quantized = {}
    for layer, entry in enabled.values():
        quantized[layer.name] = done.layers.get(layer.name) or insertion.quantize(layer, entry)
        for advice in layer.advice:
            logger.info('layer "%s" %s', layer.name, advice)
    known = enabled.keys() & done.layers.keys()
    if not known:
        insertion.round_values([layer for layer, _ in enabled.values()], rules, config)
    insertion.finish()
    grids = insertion.grids_of_sums(rules, {name: row.layer for name, row in quantized.items()})
    round_biases(
        rewrite,
        [
            BiasGrid(layer.layer, layer.activation.scale, layer.weight.scale, *grids.get(name, ()))
            for name, layer in quantized.items()
            if layer.weight is not None and name not in done.layers
        ],
    )
    return Quantized(quantized, done.values if known else insertion.rounded())


class _Insertion:
    """One run over the layers: remembers what was built, for layers that share it."""

    def __init__(
        self,
        rewrite: Rewrite,
        registry: Registry,
        batch_num: int,
        activation_grid: Grid,
        weight_grid: Grid,
    ) -> None:
        self.rewrite = rewrite
        self.registry = registry
        self.batch_num = batch_num
        self.activation_grid = activation_grid
        self.weight_grid = weight_grid
        self.placer = QuantizerPlacer(rewrite)
        self.placed: dict[Hashable, PlacedQuantizer] = {}
        self.redirects: list[tuple[tf.Operation, int, str]] = []
        self.splits: dict[str, tf.Operation] = {}
        self.values: ValueInsertion | None = None
        self.takers: dict[tuple[tf.Operation, int], ActivationConfig] = {}
        self.bypasses = False

    def taker(self, layer: Layer) -> tuple[tf.Operation, int]:
        """The op that takes the activation of `layer`, and at which input."""
        split = self.splits.get(layer.name)
        if split is not None:
            return split, SPLIT_VALUE
        return self.rewrite.graph.get_operation_by_name(layer.name), layer.activation_port

    def quantize(self, layer: Layer, config: LayerConfig) -> QuantizedLayer:
        op = self.rewrite.graph.get_operation_by_name(layer.name)
        if any(role_of(tensor.op) in LAYER_QUANTIZERS for tensor in op.inputs):
            raise GraphStateError(
                f'layer "{layer.name}" is fake-quantised already, by a rewrite that is not known '
                "here: build the graph anew instead of importing the rewritten one"
            )
        taker, taken = self.taker(layer)
        activation = self._activation(taker, taken, layer, config.activation)
        self.redirects.append((taker, taken, activation.output))
        weight = None
        if layer.weight_port is not None and config.weight is not None:
            weight = self._weight(op, layer, layer.weight_port, config.weight)
            self.redirects.append((op, layer.weight_port, weight.output))
        return QuantizedLayer(layer, activation, weight)

    def round_values(
        self, layers: Sequence[Layer], rules: TargetRules, config: RetrainConfig
    ) -> None:
        """Collect quantisers of what `rules` round besides the inputs of `layers`."""
        edges = {(op.name, port): output for op, port, output in self.redirects}
        by_output = {placed.output: placed for placed in self.placed.values()}
        off = [name for name, entry in config.values.items() if not entry.retrain_enable]
        plan = plan_values(self.rewrite.view, layers, rules, edges, self.splits, off)
        self.values = ValueInsertion(self.rewrite, self.placer, plan)
        tensors = {value.name: value.tensor for value in plan.values}

        def quantizer(name: str) -> tuple[ActivationQuantizer, Mapping[str, object]]:
            entry = config.values.get(shared_name(name))
            found = ActivationConfig() if entry is None else entry.activation
            return self._quantizer(found, tensors[name])

        self.values.place(by_output, quantizer)

    def grids_of_sums(
        self, rules: TargetRules, layers: Mapping[str, Layer]
    ) -> dict[str, tuple[str, str]]:
        """(scale, zero point) of the result of each layer whose kernel sums the zero point."""
        if self.values is None:
            return {}
        graph = self.rewrite.graph
        by_output = {placed.output: placed for placed in self.placed.values()}
        found = {}
        for name, placed in self.values.results(by_output).items():
            op, names = graph.get_operation_by_name(name), (placed.scale, placed.offset)
            tensors = map(graph.get_tensor_by_name, names)
            summed = layers[name].kernel_type in rules.summed_zero_points
            # A range that follows the data would hang on the bias that hangs on it.
            if summed and not any(hangs_on(t, op) for t in tensors):
                found[name] = names
        return found

    def rounded(self) -> dict[str, QuantizedValue]:
        """The values that were rounded, once everything takes them."""
        return {} if self.values is None else self.values.connect(self._carried_in)

    def finish(self) -> None:
        """Add what was collected to the graph, and let the layers take it."""
        self.placer.finish()
        for op, port, name in self.redirects:
            tensor = self.rewrite.graph.get_tensor_by_name(name)
            self.rewrite.redirect(op, port, self._carried_in(op, tensor))

    def _activation(
        self, op: tf.Operation, port: int, layer: Layer, config: ActivationConfig
    ) -> PlacedQuantizer:
        view, values = self.rewrite.view, op.inputs[port]
        shared = (values.name, config)
        if shared not in self.placed:
            quantizer, options = self._quantizer(config, values)
            if "behind" in options:
                options["bypassed"] = self.bypasses and taken_by_one(view, values, self.takers)
            request = QuantizerRequest(_key(layer), self.activation_grid, options=options)
            self.placed[shared] = self.placer.activation(op, port, quantizer, request)
        return self.placed[shared]

    def _quantizer(
        self, config: ActivationConfig, values: tf.Tensor
    ) -> tuple[ActivationQuantizer, dict[str, object]]:
        """The quantiser of `values` as `config` says, and its options."""
        fixed_min = config.fixed_min
        if fixed_min is None:
            fixed_min = values.op.type in ZERO_MINIMUM_TYPES
        options: dict[str, object] = {
            "batch_num": self.batch_num,
            "clip_max": config.clip_max,
            "clip_min": config.clip_min,
            "fixed_min": fixed_min,
        }
        quantizer = self.registry.activation_quantizer(config.algo)
        if fixed_min and values.op.type in getattr(quantizer, "computes", ()):
            options["behind"] = values.op.type
        return quantizer, options

    def _weight(
        self, op: tf.Operation, layer: Layer, port: int, config: WeightConfig
    ) -> PlacedQuantizer:
        weight = op.inputs[port]
        shape = layer.weight_shape or ()
        source = find_weight_source(self.rewrite.view, weight)
        assert isinstance(source, WeightSource)
        axes = layer.weight_channel_axes if config.channel_wise else ()
        shared = (source.name, source.path, shape, axes, config.algo)
        if shared not in self.placed:
            # The weight as it is outside of a cond: quantised once, its factors readable anywhere.
            outside = outside_control_flow(weight)
            request = QuantizerRequest(_key(layer), self.weight_grid, axes)
            self.placed[shared] = self.placer.weight(
                op,
                weight if outside is None else outside,
                shape,
                self.registry.weight_quantizer(config.algo),
                request,
            )
        return self.placed[shared]

    def _carried_in(self, op: tf.Operation, tensor: tf.Tensor) -> tf.Tensor:
        """`tensor`, or its copy in the cond that `op` stands in."""
        if control_flow_context(op) is control_flow_context(tensor.op):
            return tensor
        with self.rewrite.beside(op), tf.compat.v1.name_scope(tensor.op.name + "/"):
            inside = tf.identity(tensor, name="inside")
        mark(inside.op, WEIGHT_OUTPUT)
        return inside


def _key(layer: Layer) -> str:
    """What the training graph and the inference graph call a layer's quantiser alike.

    It is the weight's name: towers and copies of a layer that share a weight share the range.
    """
    return shared_name(layer.weight_source or layer.name)

"""Put fake quantisers into a live graph, as a retrain configuration says."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Mapping

import attrs
import tensorflow as tf

from graphquant_core.graph import Rewrite
from graphquant_core.graph.control_flow import control_flow_context, outside_control_flow
from graphquant_core.graph.replica import current_replica, in_replica, shared_name
from graphquant_core.graph.rewire import (
    ACTIVATION_INPUT,
    ACTIVATION_OUTPUT,
    WEIGHT_INPUT,
    WEIGHT_OUTPUT,
    mark,
)
from graphquant_core.graph.view import VARIABLE_TYPES
from graphquant_core.graph.weight_source import WeightSource, find_weight_source
from graphquant_core.grid import INT8, INT8_NARROW, Grid
from graphquant_core.layer import Layer
from graphquant_core.plan import Plan
from graphquant_core.quantizers import FakeQuantized, QuantizerRequest
from graphquant_core.registry import Registry, load_registry
from graphquant_qat.config.model import ActivationConfig, LayerConfig, RetrainConfig, WeightConfig

logger = logging.getLogger(__name__)

ZERO_MINIMUM_TYPES = frozenset({"Relu", "Relu6"})


@attrs.frozen
class QuantizedLayer:
    """A layer with fake quantisers, and the names of the tensors that hold its factors.

    It holds names only, so that a graph isn't kept alive by what is known of it.
    """

    layer: Layer
    activation: FactorNames
    weight: FactorNames | None


@attrs.frozen
class FactorNames:
    """Tensor names of a `FakeQuantized`."""

    output: str
    scale: str
    offset: str
    calibrated: str | None

    @classmethod
    def of(cls, quantized: FakeQuantized) -> FactorNames:
        """Names of the tensors of `quantized`."""
        calibrated = None if quantized.calibrated is None else quantized.calibrated.name
        return cls(quantized.output.name, quantized.scale.name, quantized.offset.name, calibrated)


def insert_quantizers(
    rewrite: Rewrite,
    plan: Plan,
    config: RetrainConfig,
    done: Mapping[str, QuantizedLayer],
    activation_grid: Grid = INT8,
    weight_grid: Grid = INT8_NARROW,
) -> dict[str, QuantizedLayer]:
    """Every enabled layer of `config` with its inputs fake-quantised, by name in the plan's order.

    Layers that take one tensor under one activation configuration share a quantiser, and so do
    layers with one weight.

    Args:
        rewrite: The open transaction on the graph.
        plan: Plan of the graph.
        config: What to quantise, and how.
        done: Layers that were quantised before; they stay as they are.
        activation_grid: Integers of the activations.
        weight_grid: Integers of the weights.

    Raises:
        UnknownNameError: The configuration enables a layer that the graph cannot quantise, or a
            strategy that isn't registered.
    """
    replica = current_replica()
    insertion = _Insertion(rewrite, load_registry(), config.batch_num, activation_grid, weight_grid)
    quantized = {}
    for layer in plan.layers:
        entry = config.layers.get(shared_name(layer.name))
        if entry is None or not entry.retrain_enable or not in_replica(layer.name, replica):
            continue
        quantized[layer.name] = done.get(layer.name) or insertion.quantize(layer, entry)
        for advice in layer.advice:
            logger.info('layer "%s" %s', layer.name, advice)
    return quantized


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
        self.built: dict[Hashable, FakeQuantized] = {}
        variables = (op for op in rewrite.view.operations if op.type in VARIABLE_TYPES)
        self.any_variable_device = next((str(op.device) for op in variables), None)

    def quantize(self, layer: Layer, config: LayerConfig) -> QuantizedLayer:
        op = self.rewrite.graph.get_operation_by_name(layer.name)
        activation = self._activation(op, layer, config.activation)
        weight = None
        if layer.weight_port is not None and config.weight is not None:
            weight = self._weight(op, layer, config.weight)
            self.rewrite.redirect(op, layer.weight_port, self._carried_in(op, weight.output))
        self.rewrite.redirect(op, layer.activation_port, activation.output)
        return QuantizedLayer(
            layer,
            FactorNames.of(activation),
            None if weight is None else FactorNames.of(weight),
        )

    def _activation(
        self, op: tf.Operation, layer: Layer, config: ActivationConfig
    ) -> FakeQuantized:
        values = op.inputs[layer.activation_port]
        fixed_min = config.fixed_min
        if fixed_min is None:
            fixed_min = values.op.type in ZERO_MINIMUM_TYPES
        options = {
            "batch_num": self.batch_num,
            "clip_max": config.clip_max,
            "clip_min": config.clip_min,
            "fixed_min": fixed_min,
        }
        request = QuantizerRequest(_key(layer), self.activation_grid, options=options)
        quantizer = self.registry.activation_quantizer(config.algo)
        return self._once(
            (values.name, config),
            "act_quant",
            op,
            op,
            lambda: _marked(quantizer.build, values, request, ACTIVATION_INPUT, ACTIVATION_OUTPUT),
        )

    def _weight(self, op: tf.Operation, layer: Layer, config: WeightConfig) -> FakeQuantized:
        assert layer.weight_port is not None
        weight = op.inputs[layer.weight_port]
        source = find_weight_source(self.rewrite.view, weight)
        assert isinstance(source, WeightSource)
        axes = layer.weight_channel_axes if config.channel_wise else ()
        request = QuantizerRequest(_key(layer), self.weight_grid, axes)
        quantizer = self.registry.weight_quantizer(config.algo)
        outside = outside_control_flow(weight)
        # The weight as it is outside of a cond: quantised once, its factors readable anywhere.
        weight = weight if outside is None else outside
        shared = (source.name, source.path, layer.weight_shape, axes, config.algo)
        return self._once(
            shared,
            "weight_quant",
            op,
            weight.op,
            lambda: _marked(quantizer.build, _read(weight), request, WEIGHT_INPUT, WEIGHT_OUTPUT),
        )

    def _carried_in(self, op: tf.Operation, tensor: tf.Tensor) -> tf.Tensor:
        """`tensor`, or its copy in the cond that `op` stands in."""
        if control_flow_context(op) is control_flow_context(tensor.op):
            return tensor
        with self.rewrite.beside(op), tf.compat.v1.name_scope(_parent(op) + "weight_quant"):
            inside = tf.identity(tensor, name="inside")
        mark(inside.op, WEIGHT_OUTPUT)
        return inside

    def _once(
        self,
        shared: Hashable,
        scope: str,
        op: tf.Operation,
        beside: tf.Operation,
        build: Callable[[], FakeQuantized],
    ) -> FakeQuantized:
        """What was built for `shared` before, or what `build` makes in `scope` beside an op."""
        if shared not in self.built:
            device = self._variable_device(op)
            with self.rewrite.beside(beside, device), tf.compat.v1.name_scope(_parent(op) + scope):
                self.built[shared] = build()
        return self.built[shared]

    def _variable_device(self, op: tf.Operation) -> str | None:
        """Where a quantiser's variables live: beside the weights, such as on a parameter server."""
        for tensor in op.inputs:
            source = find_weight_source(self.rewrite.view, tensor)
            if isinstance(source, WeightSource) and source.kind == "variable":
                return str(self.rewrite.graph.get_operation_by_name(source.name).device)
        return self.any_variable_device


def _marked(
    build: Callable[[tf.Tensor, QuantizerRequest], FakeQuantized],
    values: tf.Tensor,
    request: QuantizerRequest,
    input_role: str,
    output_role: str,
) -> FakeQuantized:
    """What `build` makes, its entry and its result marked so that an exporter finds them."""
    entry = tf.identity(values, name="input")
    mark(entry.op, input_role)
    quantized = build(entry, request)
    mark(quantized.output.op, output_role)
    return quantized


def _read(tensor: tf.Tensor) -> tf.Tensor:
    """The value of `tensor`, which may be a variable's resource."""
    if tensor.dtype != tf.resource:
        return tensor
    return tf.raw_ops.ReadVariableOp(resource=tensor, dtype=tf.float32)


def _parent(op: tf.Operation) -> str:
    """Name scope of `op` with a trailing slash; empty at the root."""
    scope, slash, _ = op.name.rpartition("/")
    return scope + slash


def _key(layer: Layer) -> str:
    """What the training graph and the inference graph call a layer's quantiser alike.

    It is the weight's name: towers and copies of a layer that share a weight share the range.
    """
    return shared_name(layer.weight_source or layer.name)

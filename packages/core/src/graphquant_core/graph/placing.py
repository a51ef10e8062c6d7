"""Place quantisers into a live graph: stamped together where possible, else built in place."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import attrs
import tensorflow as tf

from graphquant_core.graph.build_quantizer import build_quantizer
from graphquant_core.graph.control_flow import control_flow_context
from graphquant_core.graph.replica import current_replica
from graphquant_core.graph.rewire import (
    ACTIVATION_INPUT,
    ACTIVATION_OUTPUT,
    VALUE_INPUT,
    VALUE_OUTPUT,
    WEIGHT_INPUT,
    WEIGHT_OUTPUT,
    Rewrite,
    mark,
    mark_bypassed,
)
from graphquant_core.graph.stamping import StampSheet
from graphquant_core.graph.template import Template, trace
from graphquant_core.graph.view import VARIABLE_TYPES
from graphquant_core.graph.weight_source import WeightSource, find_weight_source
from graphquant_core.quantizers import (
    ActivationQuantizer,
    FakeQuantized,
    QuantizerRequest,
    WeightQuantizer,
)

v1 = tf.compat.v1
Quantizer = ActivationQuantizer | WeightQuantizer


@attrs.frozen
class PlacedQuantizer:
    """Names of the tensors of a `FakeQuantized` in the graph.

    Names, so that a graph isn't kept alive by what is known of it.
    """

    output: str
    scale: str
    offset: str
    calibrated: str | None


class QuantizerPlacer:
    """Collects quantisers for one rewrite; their tensors exist after `finish`."""

    def __init__(self, rewrite: Rewrite) -> None:
        self.rewrite = rewrite
        self._sheet = StampSheet(rewrite.graph)
        self._templates: dict[Hashable, Template] = {}
        variables = rewrite.view.of_types(VARIABLE_TYPES)
        self._first_variable_device = str(variables[0].device) if variables else ""
        self._variable_devices: dict[tf.Operation, str] = {}

    def activation(
        self, op: tf.Operation, port: int, quantizer: ActivationQuantizer, request: QuantizerRequest
    ) -> PlacedQuantizer:
        """A quantiser of what `op` takes at `port`, in ``<scope of op>/act_quant``.

        With the option ``bypassed``, of what the op in front takes.
        """
        values = op.inputs[port]
        if request.options.get("bypassed"):
            values = values.op.inputs[0]
        roles = (ACTIVATION_INPUT, ACTIVATION_OUTPUT)
        shape = None if values.shape.rank is None else [None] * values.shape.rank
        return self._place(op, op, values, "act_quant", quantizer, request, roles, shape)

    def value(
        self, tensor: tf.Tensor, quantizer: ActivationQuantizer, request: QuantizerRequest
    ) -> PlacedQuantizer:
        """A quantiser of `tensor` for whatever takes it, in ``<scope of its op>/value_quant``."""
        roles = (VALUE_INPUT, VALUE_OUTPUT)
        shape = None if tensor.shape.rank is None else [None] * tensor.shape.rank
        op = tensor.op
        return self._place(op, op, tensor, "value_quant", quantizer, request, roles, shape)

    def weight(
        self,
        op: tf.Operation,
        weight: tf.Tensor,
        shape: Sequence[int],
        quantizer: WeightQuantizer,
        request: QuantizerRequest,
    ) -> PlacedQuantizer:
        """A quantiser of `weight`, a weight of `op`, in ``<scope of op>/weight_quant``.

        A quantiser whose attribute ``any_shape`` is true is built for the rank of `shape` only.
        """
        roles = (WEIGHT_INPUT, WEIGHT_OUTPUT)
        known = [None] * len(shape) if getattr(quantizer, "any_shape", False) else list(shape)
        return self._place(op, weight.op, weight, "weight_quant", quantizer, request, roles, known)

    def finish(self) -> None:
        """Import what was collected."""
        self._sheet.apply()

    def _place(
        self,
        op: tf.Operation,
        beside: tf.Operation,
        values: tf.Tensor,
        name: str,
        quantizer: Quantizer,
        request: QuantizerRequest,
        roles: tuple[str, str],
        shape: Sequence[int | None] | None,
    ) -> PlacedQuantizer:
        scope = op.name.rpartition("/")[0]
        scope = f"{scope}/{name}" if scope else name
        device = self._variable_device(op)
        read_inside = values.dtype == tf.resource
        if read_inside or control_flow_context(beside) or current_replica() is not None:
            # A cond must know its ops, and a strategy creates the variables of its replicas.
            with self.rewrite.beside(beside, device), v1.name_scope(scope):
                built = _build(quantizer, _read(values), request, roles)
            calibrated = None if built.calibrated is None else built.calibrated.name
            return PlacedQuantizer(
                built.output.name, built.scale.name, built.offset.name, calibrated
            )
        template = self._template(quantizer, request, roles, shape)
        names = self._sheet.add(template, values, scope, request.key, beside.device, device)
        return PlacedQuantizer(*names)

    def _template(
        self,
        quantizer: Quantizer,
        request: QuantizerRequest,
        roles: tuple[str, str],
        shape: Sequence[int | None] | None,
    ) -> Template:
        options = tuple(sorted(request.options.items()))
        known = None if shape is None else tuple(shape)
        key = (quantizer.name, roles, known, request.grid, request.axes, options)
        if key not in self._templates:

            def build(values: tf.Tensor, wanted: QuantizerRequest) -> FakeQuantized:
                return _build(quantizer, values, wanted, roles)

            self._templates[key] = trace(build, request, shape)
        return self._templates[key]

    def _variable_device(self, op: tf.Operation) -> str:
        """Where a quantiser's variables live: beside the weights, such as on a parameter server."""
        if op not in self._variable_devices:
            sources = (find_weight_source(self.rewrite.view, tensor) for tensor in op.inputs)
            variables = (
                self.rewrite.graph.get_operation_by_name(source.name)
                for source in sources
                if isinstance(source, WeightSource) and source.kind == "variable"
            )
            first = next((str(variable.device) for variable in variables), None)
            found = self._first_variable_device if first is None else first
            self._variable_devices[op] = found
        return self._variable_devices[op]


def _build(
    quantizer: Quantizer, values: tf.Tensor, request: QuantizerRequest, roles: tuple[str, str]
) -> FakeQuantized:
    """What `quantizer` builds, its entry and its result marked so that an exporter finds them."""
    entry = tf.identity(values, name="input")
    mark(entry.op, roles[0])
    if request.options.get("bypassed"):
        mark_bypassed(entry.op, request.options["behind"])
    built = build_quantizer(quantizer, entry, request)
    mark(built.output.op, roles[1])
    return built


def _read(values: tf.Tensor) -> tf.Tensor:
    """`values`, or the value of the variable whose resource it is."""
    if values.dtype != tf.resource:
        return values
    return tf.raw_ops.ReadVariableOp(resource=values, dtype=tf.float32)

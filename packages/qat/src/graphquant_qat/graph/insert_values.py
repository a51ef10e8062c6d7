"""Puts fake quantisers of values into a live graph, for everything that takes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import attrs
import tensorflow as tf

from graphquant_core.graph import Rewrite
from graphquant_core.graph.frozen.shape_ops import SHAPE_TYPES
from graphquant_core.graph.placing import PlacedQuantizer, QuantizerPlacer
from graphquant_core.graph.replica import shared_name
from graphquant_core.graph.rewire import VALUE_INPUT, VALUE_OUTPUT, mark
from graphquant_core.grid import INT8
from graphquant_core.quantizers import ActivationQuantizer, QuantizerRequest
from graphquant_core.value_grid import ValueGrid
from graphquant_export.quantized.rounding_plan import RoundedValue, RoundingPlan
from graphquant_qat.graph.take_place import take_place, upstream

v1 = tf.compat.v1

Carry = Callable[[tf.Operation, tf.Tensor], tf.Tensor]


@attrs.frozen
class QuantizedValue:
    """A value that is rounded where it arises, and the names of the tensors with its grid.

    Attributes:
        name: Its name in a record.
        scale: Name of its scale.
        offset: Name of its zero point.
        calibrated: Name of what says that its range has seen data; ``None`` when it needs none.
    """

    name: str
    scale: str
    offset: str
    calibrated: str | None


class ValueInsertion:
    """Inserts the values of `plan` beside the layers of one rewrite.

    Args:
        rewrite: The open transaction.
        placer: Where quantisers are collected.
        plan: What is rounded.
    """

    def __init__(self, rewrite: Rewrite, placer: QuantizerPlacer, plan: RoundingPlan) -> None:
        self._rewrite = rewrite
        self._placer = placer
        self._plan = plan
        self._placed: dict[str, PlacedQuantizer] = {}

    def place(
        self,
        quantizers: Mapping[str, PlacedQuantizer],
        quantizer: Callable[[str], tuple[ActivationQuantizer, Mapping[str, object]]],
    ) -> None:
        """Collects a trained quantiser for each value with a range of its own.

        Args:
            quantizers: The quantisers of what layers take, by the names that the plan has.
            quantizer: From a value's name to its quantiser and options.
        """
        for value in self._plan.values:
            if not value.has_range:
                continue
            if value.quantizer is not None:
                self._placed[value.name] = quantizers[value.quantizer]
                continue
            built, options = quantizer(value.name)
            request = QuantizerRequest(value_key(value.name), INT8, options=options)
            self._placed[value.name] = self._placer.value(value.tensor, built, request)

    def results(self, quantizers: Mapping[str, PlacedQuantizer]) -> dict[str, PlacedQuantizer]:
        """What rounds the result of each layer that returns integers, by the layer's name.

        Args:
            quantizers: The quantisers of what layers take, by the names that the plan has.
        """
        known = {**quantizers, **self._placed}
        return {layer: known[rounds] for layer, (_, rounds) in self._plan.results.items()}

    def connect(self, carried: Carry) -> dict[str, QuantizedValue]:
        """Lets everything take the rounded values, once the collected ops are in the graph.

        Args:
            carried: A tensor as an op in a cond takes it.
        """
        by_tensor: dict[str, PlacedQuantizer] = {}
        for value in self._plan.values:
            placed = self._placed.get(value.name)
            if placed is None:
                placed = self._fixed(value, by_tensor)
            by_tensor[value.tensor.name] = placed
            rounded = self._rewrite.graph.get_tensor_by_name(placed.output)
            if value.quantizer is not None:
                rounded = self._beside_layers(value, rounded)
            if not (value.last and take_place(self._rewrite, value.tensor, rounded)):
                self._redirect(value, rounded, carried)
        return {
            name: QuantizedValue(shared_name(name), placed.scale, placed.offset, placed.calibrated)
            for name, placed in self._placed.items()
        }

    def _fixed(
        self, value: RoundedValue, by_tensor: Mapping[str, PlacedQuantizer]
    ) -> PlacedQuantizer:
        """A fake quantiser on a grid that isn't trained here: the target's, or the operand's."""
        scope = value.tensor.op.name.rpartition("/")[0]
        with (
            self._rewrite.beside(value.tensor.op),
            v1.name_scope(f"{scope}/value_quant".lstrip("/")),
        ):
            entry = tf.identity(value.tensor, name="input")
            mark(entry.op, VALUE_INPUT)
            if value.fixed is None:
                operand = by_tensor[value.operands[0].name]
                graph = self._rewrite.graph
                scale, offset = map(graph.get_tensor_by_name, (operand.scale, operand.offset))
            else:
                scale, offset = _constants(value.fixed)
            low, high = (
                tf.stop_gradient((code - tf.cast(offset, tf.float32)) * scale)
                for code in (-128.0, 127.0)
            )
            output = tf.quantization.fake_quant_with_min_max_vars(entry, low, high)
            mark(output.op, VALUE_OUTPUT)
        return PlacedQuantizer(output.name, scale.name, offset.name, None)

    def _beside_layers(self, value: RoundedValue, rounded: tf.Tensor) -> tf.Tensor:
        """What everything but layers takes of the quantiser that rounds what they take."""
        with self._rewrite.beside(value.tensor.op), v1.name_scope(rounded.op.name + "/"):
            shared = tf.identity(rounded, name="shared")
        mark(shared.op, VALUE_OUTPUT)
        return shared

    def _redirect(self, value: RoundedValue, rounded: tf.Tensor, carried: Carry) -> None:
        behind = {op.name for op in upstream(rounded, value.tensor)}
        for op in dict.fromkeys(value.tensor.consumers()):
            if op.type in SHAPE_TYPES or op.name in behind:
                continue
            for port, tensor in enumerate(op.inputs):
                if tensor is value.tensor:
                    self._rewrite.redirect(op, port, carried(op, rounded))


def value_key(name: str) -> str:
    """What both graphs call the quantiser of a value: ``add/value`` for ``add:0``."""
    op, _, index = shared_name(name).rpartition(":")
    return f"{op}/value{'' if index == '0' else index}"


def _constants(grid: ValueGrid) -> tuple[tf.Tensor, tf.Tensor]:
    return tf.constant(grid.scale, tf.float32), tf.constant(grid.zero_point, tf.int32)

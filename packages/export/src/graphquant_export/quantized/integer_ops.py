"""The ops of a graph that a target may compute with integers, and the values that they return."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

import attrs
import tensorflow as tf

from graphquant_core.graph import GraphView
from graphquant_core.target_rules import ACTIVATION_TYPES, JOINING_TYPES, TargetRules
from graphquant_core.value_grid import ValueGrid
from graphquant_export.quantized.hard_swish import find_hard_swishes

if TYPE_CHECKING:
    from graphquant_export.quantized.rounding_plan import ResultOfLayer

_UNITING_TYPES = JOINING_TYPES | {"Add", "AddV2", "Sub"}
"""Ops in whose result the values of every operand go on."""


@attrs.frozen(eq=False)
class IntegerOp:
    """An op that returns integers, a merged activation function included.

    Attributes:
        name: Name of its value in records.
        tensor: What it returns.
        operands: The float tensors that it takes as integers; none for a layer.
        taking: Names of the ops that take them.
        joins: Whether it only puts its operands together, on one grid.
        unites: Whether the values of all operands go on in its value.
        fixed: The only grid that its value can have.
        averages: Whether its value lies on the grid of its operand.
        layers: Names of the layers whose result it is: one, a group of several, or none.
    """

    name: str
    tensor: tf.Tensor
    operands: tuple[tf.Tensor, ...] = ()
    taking: frozenset[str] = frozenset()
    joins: bool = False
    unites: bool = False
    fixed: ValueGrid | None = None
    averages: bool = False
    layers: tuple[str, ...] = ()


def find_integer_ops(
    view: GraphView, rules: TargetRules, results: Iterable[ResultOfLayer], outputs: Collection[str]
) -> list[IntegerOp]:
    """Every op of the graph that `rules` know, in its order, whether or not it takes integers.

    Args:
        view: View of the graph.
        rules: The target's rules.
        results: What the quantised layers return.
        outputs: Names of the ops that are outputs of the model, behind which nothing is merged.
    """
    finder = _Finder(view, rules, frozenset(outputs))
    layers: dict[str, list[ResultOfLayer]] = {}
    for result in results:
        layers.setdefault(result.tensor.name, []).append(result)
    swishes = {swish.result.name: swish for swish in find_hard_swishes(view)}
    inner = frozenset(name for swish in swishes.values() for name in swish.inner)
    found: list[IntegerOp | None] = []
    for op in view.operations:
        found.extend(finder.layer(layers[t.name]) for t in op.outputs if t.name in layers)
        if op.name in swishes and "Mul" in rules.rescaling:
            swish = swishes[op.name]
            taking = swish.inner | {op.name}
            found.append(IntegerOp(op.outputs[0].name, op.outputs[0], (swish.x,), taking))
        elif op.name not in inner and op.outputs and op.outputs[0].name not in layers:
            found.append(finder.other(op))
    return [op for op in found if op is not None]


class _Finder:
    def __init__(self, view: GraphView, rules: TargetRules, outputs: frozenset[str]) -> None:
        self._view = view
        self._rules = rules
        self._outputs = outputs
        self._merged: set[str] = set()

    def layer(self, members: list[ResultOfLayer]) -> IntegerOp | None:
        """The result of one layer, or of a group of them."""
        first = members[0]
        if any(member.op_type not in self._rules.results for member in members):
            return None
        tensor = self._activated(first.tensor)
        plain = tensor is first.tensor and len(members) == 1
        name = f"{first.name}:0" if plain else tensor.name
        return IntegerOp(name, tensor, layers=tuple(member.name for member in members))

    def other(self, op: tf.Operation) -> IntegerOp | None:
        """The value of an op that is no layer."""
        rules = self._rules
        joins = op.type in JOINING_TYPES and op.type in rules.moving
        known = rules.rescaling | rules.averaging | rules.fixed.keys()
        if op.name in self._merged or not (joins or op.type in known):
            return None
        floats = [tensor for tensor in op.inputs if tensor.dtype == tf.float32]
        operands = tuple(t for t in floats if joins or not self._is_number(t))
        if not operands or not any(self._view.depends_on_data(t) for t in operands):
            return None
        tensor = op.outputs[0]
        if op.type in rules.rescaling and op.type not in ACTIVATION_TYPES:
            tensor = self._activated(tensor)
        return IntegerOp(
            tensor.name,
            tensor,
            operands,
            frozenset({op.name}),
            joins=joins,
            unites=op.type in _UNITING_TYPES and len(operands) > 1,
            fixed=rules.fixed.get(op.type),
            averages=op.type in rules.averaging,
        )

    def _activated(self, tensor: tf.Tensor) -> tf.Tensor:
        """What the activation function returns that alone takes `tensor`, else `tensor`."""
        consumers = self._view.consumers(tensor)
        if len(consumers) != 1 or tensor.op.name in self._outputs:
            return tensor
        op = consumers[0][0]
        if op.type not in ACTIVATION_TYPES:
            return tensor
        self._merged.add(op.name)
        return op.outputs[0]

    def _is_number(self, tensor: tf.Tensor) -> bool:
        # One number is exact in int8; a vector of them would lose digits that training kept.
        return tensor.shape.num_elements() == 1 and not self._view.depends_on_data(tensor)

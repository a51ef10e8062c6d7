"""Which values a target rounds besides the inputs of its layers: one plan, made of its rules.

A value is rounded where an integer op returns it, for everything that takes it. Besides the
quantised layers, only what stands between them is computed with integers: what follows a layer that
stays float, and what only float layers take, stays float.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import attrs
import tensorflow as tf

from graphquant_core.graph import GraphView
from graphquant_core.target_rules import TargetRules
from graphquant_core.value_grid import ValueGrid
from graphquant_export.quantized.integer_ops import IntegerOp, find_integer_ops
from graphquant_export.quantized.value_flow import Edge, ValueFlow


@attrs.frozen(eq=False)
class ResultOfLayer:
    """What a quantised layer returns, with everything that folds into it.

    Attributes:
        name: Name of the layer.
        op_type: Type of its op.
        tensor: Its result in the graph of the plan; the members of a group have one.
    """

    name: str
    op_type: str
    tensor: tf.Tensor


@attrs.frozen(eq=False)
class RoundedValue:
    """A value that is rounded where it arises.

    Attributes:
        name: Its name in a record, the same in the training graph and in the frozen one:
            ``"add:0"``, or ``"conv1/Conv2D:0"`` for what the layer ``"conv1/Conv2D"`` returns.
        tensor: The tensor.
        operands: The tensors whose values its op takes, moved about or not; none for a layer.
        united: Whether the values of its operands go on in it, so that its grid must leave
            something of each.
        fixed: Its grid where the target allows no other.
        averaged: Whether it lies on the grid of its operand.
        quantizer: The one quantiser that takes the very tensor, whose range may serve everything
            else that takes it; ``None`` where there is none, or where they are several.
        last: Whether no quantised layer takes what it becomes: it goes to an output of the model.
    """

    name: str
    tensor: tf.Tensor
    operands: tuple[tf.Tensor, ...] = ()
    united: bool = False
    fixed: ValueGrid | None = None
    averaged: bool = False
    quantizer: str | None = None
    last: bool = False

    @property
    def has_range(self) -> bool:
        """Whether its grid follows from a range of its own."""
        return self.fixed is None and not self.averaged


@attrs.frozen(eq=False)
class RoundingPlan:
    """What a target rounds.

    Attributes:
        values: The values that are rounded where they arise, in the order of the graph.
        results: The result of each layer that returns integers, by the layer's name: the tensor,
            and who rounds it: one of `values`, by its name, or the quantiser that takes all of it.
    """

    values: tuple[RoundedValue, ...] = ()
    results: Mapping[str, tuple[tf.Tensor, str]] = attrs.field(factory=dict)


def plan_roundings(
    view: GraphView,
    rules: TargetRules,
    results: Iterable[ResultOfLayer],
    quantizers: Mapping[Edge, str],
    outputs: Collection[str],
    *,
    known: Collection[str] | None = None,
    unrounded: Collection[str] = (),
) -> RoundingPlan:
    """What a target with `rules` rounds besides the inputs of layers.

    A value all of which goes into one quantiser, moved or not, isn't among its values: that one
    rounds it. An op of which a grid isn't known is computed with floats, and so is what follows it.

    Args:
        view: View of the graph.
        rules: The target's rules.
        results: What the quantised layers return.
        quantizers: Name of the quantiser at each edge, (op, input), that one stands on or will.
        outputs: Names of the ops that are outputs of the model.
        known: Names of the values whose grid is known; by default every one's.
        unrounded: Names of values that are computed with floats all the same.
    """
    if not rules.rounds:
        return RoundingPlan()
    flow = ValueFlow(view, rules.moving, quantizers, outputs)
    ops = find_integer_ops(view, rules, results, outputs)
    alive = {op.tensor.name: op for op in ops if op.name not in unrounded}
    while True:
        flow.integer_joins = {name: op.name for name, op in alive.items() if op.joins}
        taking = frozenset(name for op in alive.values() for name in op.taking)
        kept = {
            name: op
            for name, op in alive.items()
            if _takes_integers(flow, op, alive)
            and _has_grid(flow, op, known)
            # A layer's kernel returns integers, whoever takes them.
            and (not op.operands or flow.is_taken(op.tensor, taking, rules.integer_outputs))
        }
        if len(kept) == len(alive):
            break
        alive = kept
    # A kernel that knows one grid only returns that, also where a quantiser rounds its value next.
    quantizer = {
        op.name: None if op.fixed else flow.only_quantizer(op.tensor) for op in alive.values()
    }
    return RoundingPlan(
        tuple(_rounded(flow, op, taking) for op in alive.values() if quantizer[op.name] is None),
        {
            layer: (op.tensor, quantizer[op.name] or op.name)
            for op in alive.values()
            for layer in op.layers
        },
    )


def _takes_integers(flow: ValueFlow, op: IntegerOp, alive: Mapping[str, IntegerOp]) -> bool:
    return all(flow.origin(tensor).name in alive for tensor in op.operands)


def _has_grid(flow: ValueFlow, op: IntegerOp, known: Collection[str] | None) -> bool:
    if known is None or op.name in known or op.fixed is not None or op.averages:
        return True
    return flow.only_quantizer(op.tensor) is not None


def _rounded(flow: ValueFlow, op: IntegerOp, taking: Collection[str]) -> RoundedValue:
    direct = flow.direct_quantizers(op.tensor)
    return RoundedValue(
        op.name,
        op.tensor,
        tuple(flow.origin(tensor) for tensor in op.operands),
        op.unites,
        op.fixed,
        op.averages,
        direct[0] if len(direct) == 1 else None,
        not flow.is_taken(op.tensor, taking, outputs=False),
    )

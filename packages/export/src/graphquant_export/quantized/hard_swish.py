"""x * relu6(x + 3) / 6, which converters make one op of."""

from __future__ import annotations

import attrs
import tensorflow as tf

from graphquant_core.graph import GraphView

ADDING_TYPES = ("Add", "AddV2")


@attrs.frozen(eq=False)
class HardSwish:
    """One hard swish.

    Attributes:
        x: What it takes.
        result: The op whose output is its value.
        inner: Names of its other ops.
    """

    x: tf.Tensor
    result: tf.Operation
    inner: frozenset[str]


def find_hard_swishes(view: GraphView) -> list[HardSwish]:
    """Every hard swish whose inner values nothing else takes.

    ``(x * relu6(x + 3)) * (1 / 6)`` and ``x * (relu6(x + 3) * (1 / 6))`` are both known.
    """
    found = (_around(view, op) for op in view.operations if op.type == "Relu6")
    return [swish for swish in found if swish is not None]


def _around(view: GraphView, relu6: tf.Operation) -> HardSwish | None:
    add, first = relu6.inputs[0].op, _only_consumer(view, relu6)
    if add.type not in ADDING_TYPES or first is None or first.type != "Mul":
        return None
    others = [tensor for tensor in add.inputs if not _is_number(tensor, 3.0)]
    last = _only_consumer(view, first)
    if (
        last is None
        or last.type != "Mul"
        or len(others) != 1
        or len(view.consumers(add.outputs[0])) != 1
    ):
        return None
    (x,) = others
    factors = [t for op in (first, last) for t in op.inputs if t.op not in (relu6, first)]
    multiplies, divides = (any(t is x for t in factors), any(_is_number(t, 1 / 6) for t in factors))
    if not (multiplies and divides):
        return None
    return HardSwish(x, last, frozenset({add.name, relu6.name, first.name}))


def _only_consumer(view: GraphView, op: tf.Operation) -> tf.Operation | None:
    consumers = view.consumers(op.outputs[0])
    return consumers[0][0] if len(consumers) == 1 else None


def _is_number(tensor: tf.Tensor, number: float) -> bool:
    value = tf.get_static_value(tensor)
    return value is not None and value.size == 1 and abs(float(value.max()) - number) < 1e-6

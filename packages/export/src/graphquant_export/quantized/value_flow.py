"""Where the values of a tensor come from and go to, through ops that only move them."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import tensorflow as tf

from graphquant_core.graph import GraphView
from graphquant_core.graph.frozen.shape_ops import SHAPE_TYPES
from graphquant_core.target_rules import JOINING_TYPES

Edge = tuple[str, int]

_ELSEWHERE = ""
"""Stands for whatever takes values as they are, an output of the model among them."""


class ValueFlow:
    """The flow of values in one graph.

    Args:
        view: View of the graph.
        moving: Types of ops that give the same whether what they take is rounded or what they
            return.
        quantizers: Name of the quantiser at each edge that has one.
        outputs: Names of the ops that are outputs of the model.

    Attributes:
        integer_joins: Name of each value that several are joined to on one grid, by its tensor.
    """

    def __init__(
        self,
        view: GraphView,
        moving: Collection[str],
        quantizers: Mapping[Edge, str],
        outputs: Collection[str],
    ) -> None:
        self._view = view
        self._moving = frozenset(moving)
        self._quantizers = quantizers
        self._outputs = frozenset(outputs)
        self.integer_joins: Mapping[str, str] = {}

    def origin(self, tensor: tf.Tensor) -> tf.Tensor:
        """The tensor whose values `tensor` has, moved about."""
        while tensor.op.type in self._moving and tensor.name not in self.integer_joins:
            floats = [source for source in tensor.op.inputs if source.dtype == tf.float32]
            if len(floats) != 1:
                return tensor
            (tensor,) = floats
        return tensor

    def only_quantizer(self, tensor: tf.Tensor) -> str | None:
        """The quantiser that all values of `tensor` go into and nothing else takes, if any.

        A value to which several are joined counts as one; so its own quantiser is found.
        """
        sinks = self._sinks(tensor)
        return next(iter(sinks)) if len(sinks) == 1 and _ELSEWHERE not in sinks else None

    def is_taken(self, tensor: tf.Tensor, taking: Collection[str], outputs: bool) -> bool:
        """Whether a quantiser or one of the ops called `taking` takes values of `tensor`.

        Args:
            tensor: The tensor.
            taking: Names of ops.
            outputs: Whether an output of the model counts, too.
        """
        waiting, seen = [tensor], {tensor.name}
        while waiting:
            current = waiting.pop()
            if outputs and current.op.name in self._outputs:
                return True
            for op, port in self._view.consumers(current):
                if (op.name, port) in self._quantizers or op.name in taking:
                    return True
                if op.type in self._moving and op.type not in JOINING_TYPES:
                    moved = [result for result in op.outputs if result.name not in seen]
                    seen.update(result.name for result in moved)
                    waiting.extend(moved)
        return False

    def direct_quantizers(self, tensor: tf.Tensor) -> list[str]:
        """The quantisers that take `tensor` itself."""
        edges = [(op.name, port) for op, port in self._view.consumers(tensor)]
        return list(
            dict.fromkeys(self._quantizers[edge] for edge in edges if edge in self._quantizers)
        )

    def _sinks(self, tensor: tf.Tensor) -> frozenset[str]:
        found: set[str] = set()
        waiting, seen = [tensor], {tensor.name}
        while waiting:
            current = waiting.pop()
            if current.op.name in self._outputs:
                found.add(_ELSEWHERE)
            for op, port in self._view.consumers(current):
                if op.type in SHAPE_TYPES:
                    continue
                quantizer = self._quantizers.get((op.name, port))
                if quantizer is not None:
                    found.add(quantizer)
                elif op.type not in self._moving:
                    found.add(_ELSEWHERE)
                elif op.type in JOINING_TYPES:
                    found.add(self._behind_join(op.outputs[0]))
                else:
                    moved = [result for result in op.outputs if result.name not in seen]
                    seen.update(result.name for result in moved)
                    waiting.extend(moved)
        return frozenset(found)

    def _behind_join(self, joined: tf.Tensor) -> str:
        """The quantiser that rounds what several tensors are joined to."""
        own = self.integer_joins.get(joined.name, _ELSEWHERE)
        return self.only_quantizer(joined) or own

"""Which values of a loop are known at each step: counters and limits, which no input changes."""

from __future__ import annotations

from collections.abc import Collection

import tensorflow as tf

from graphquant_export.loops.loop import Loop
from graphquant_export.loops.scope import Scope
from graphquant_export.loops.values import OpenLoopError


def known_values(
    scope: Scope, loop: Loop, invariant: Collection[int]
) -> tuple[frozenset[int], set[tf.Operation]]:
    """The values of `loop` that follow from constants, and the ops of its body that don't.

    Args:
        scope: Where the loop stands.
        loop: The loop.
        invariant: The values that its body doesn't change. A weight among them is no number.

    Raises:
        OpenLoopError: How many steps it makes follows from something else.
    """
    known = {
        index
        for index, start in enumerate(loop.starts)
        if scope.is_known(start) and not (index in invariant and _is_weight(start))
    }
    while True:
        data = loop.body.changing(_others(loop.body.arguments, known))
        lost = {index for index in known if loop.body.results[index].op in data}
        if not lost:
            break
        known -= lost
    condition = loop.condition
    if condition.results[0].op in condition.changing(_others(condition.arguments, known)):
        raise OpenLoopError("how many steps it makes depends on the inputs of the model")
    return frozenset(known), data


def _is_weight(start: tf.Tensor) -> bool:
    return bool(start.dtype.is_floating) and start.shape.rank != 0


def _others(arguments: Collection[tf.Tensor], known: Collection[int]) -> list[tf.Tensor]:
    return [argument for index, argument in enumerate(arguments) if index not in known]

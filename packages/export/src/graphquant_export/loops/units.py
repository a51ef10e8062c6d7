"""What a piece is made of, in an order in which it can be computed: ops, and loops as wholes."""

from __future__ import annotations

from typing import TypeAlias

import tensorflow as tf

from graphquant_core.graph.while_loops import WHILE_TYPES
from graphquant_export.loops.frames import frames_of, loops_in_frames
from graphquant_export.loops.loop import Loop
from graphquant_export.loops.piece import Piece
from graphquant_export.loops.while_op import loop_of

Unit: TypeAlias = tf.Operation | Loop


def units_of(piece: Piece) -> list[Unit]:
    """What the results of `piece` need but its arguments, each unit after what it takes."""
    frames = frames_of(piece)
    found = list(loops_in_frames(piece, frames))
    owners: dict[tf.Operation, Unit] = {
        leave.op: loop for loop in found for leave in loop.exits if leave is not None
    }
    for op in piece.view.operations:
        if op.type in WHILE_TYPES and op not in frames:
            owners[op] = loop_of(op, piece.functions)
    wanted = [owners.get(result.op, result.op) for result in piece.results]
    given = {argument.op for argument in piece.arguments}
    return [unit for unit in _ordered(wanted, owners) if unit not in given]


def _ordered(wanted: list[Unit], owners: dict[tf.Operation, Unit]) -> list[Unit]:
    done: dict[Unit, None] = {}
    seen: set[Unit] = set()
    waiting = list(reversed(wanted))
    while waiting:
        unit = waiting[-1]
        taken = () if unit in seen else inputs_of(unit)
        seen.add(unit)
        following = [owners.get(x.op, x.op) for x in taken]
        missing = [each for each in following if each not in seen]
        if missing:
            waiting += missing
        else:
            done.setdefault(waiting.pop())
    return list(done)


def inputs_of(unit: Unit) -> tuple[tf.Tensor, ...]:
    """What `unit` takes."""
    return unit.starts if isinstance(unit, Loop) else tuple(unit.inputs)


def outputs_of(unit: Unit) -> tuple[tf.Tensor, ...]:
    """What `unit` returns."""
    if isinstance(unit, Loop):
        return tuple(leave for leave in unit.exits if leave is not None)
    return tuple(unit.outputs)

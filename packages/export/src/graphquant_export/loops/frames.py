"""The while loops of TensorFlow 1: ops between Enter and Exit, in a frame of a name.

A value goes Enter -> Merge -> Switch -> the body -> NextIteration -> Merge, and from the Switch to
Exit when the condition, a LoopCond, is false. An Enter may be constant: the body takes it as it is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, MutableMapping
from typing import TypeAlias

import attrs
import tensorflow as tf

from graphquant_core.graph.frozen.node_def import node_def
from graphquant_export.loops.loop import Loop
from graphquant_export.loops.piece import ENTER_TYPES, Piece, piece_of

_EXIT = frozenset({"Exit", "RefExit"})
_CONTEXT = "/while_context"

_Frames: TypeAlias = tuple[bytes, ...]


def frames_of(piece: Piece) -> dict[tf.Operation, bytes]:
    """Name of the outermost frame that each op in a loop stands in; an Exit stands outside."""
    known: dict[bytes, _Frames] = {}
    while True:
        before = dict(known)
        stacks = _stacks(piece, known)
        if known == before:
            return {op: stack[0] for op, stack in stacks.items() if stack}


def _stacks(piece: Piece, known: MutableMapping[bytes, _Frames]) -> dict[tf.Operation, _Frames]:
    """The frames that each op stands in, and in `known` those of each frame, its own the last.

    What enters an inner loop may be a constant, which stands in no frame: so an Enter stands in
    those that are known of its frame.
    """
    stacks: dict[tf.Operation, _Frames] = {}
    # An op follows what it takes, but for the NextIteration of a Merge.
    for op in piece.view.operations:
        found = max((stacks.get(x.op, ()) for x in op.inputs), key=len, default=())
        if op.type in ENTER_TYPES:
            frame = op.get_attr("frame_name")
            found = known[frame] = max((*found, frame), known.get(frame, ()), key=len)
        stacks[op] = found[:-1] if op.type in _EXIT else found
    return stacks


def loops_in_frames(piece: Piece, frames: Mapping[tf.Operation, bytes]) -> Iterator[Loop]:
    """The outermost loops of `piece`, whose ops stand in `frames`."""
    for frame in dict.fromkeys(frames.values()):
        enters = [
            op
            for op, name in frames.items()
            if name == frame and op.type in ENTER_TYPES and op.get_attr("frame_name") == frame
        ]
        yield _Frame(piece, frame.decode(), enters).loop()


@attrs.frozen
class _Variable:
    """One value: where it enters, and the ops that it goes through, ``None`` for a constant."""

    enter: tf.Operation
    merge: tf.Operation | None = None
    switch: tf.Operation | None = None
    exit: tf.Tensor | None = None


class _Frame:
    def __init__(self, piece: Piece, frame: str, enters: Collection[tf.Operation]) -> None:
        self._piece = piece
        self._frame = frame
        self._variables = [self._variable(enter) for enter in enters]

    def loop(self) -> Loop:
        merges = [variable.merge for variable in self._variables]
        next_values = [
            variable.enter.outputs[0] if merge is None else merge.inputs[1].op.inputs[0]
            for variable, merge in zip(self._variables, merges, strict=True)
        ]
        switch = next(variable.switch for variable in self._variables if variable.switch)
        return Loop(
            self._frame.removesuffix(_CONTEXT),
            "Enter",
            tuple((variable.enter.name, 0) for variable in self._variables),
            tuple(variable.enter.inputs[0] for variable in self._variables),
            self._part([switch.inputs[1].op.inputs[0]]),
            self._part(next_values),
            tuple(variable.exit for variable in self._variables),
        )

    def _variable(self, enter: tf.Operation) -> _Variable:
        if enter.get_attr("is_constant"):
            return _Variable(enter)
        merge = self._taker(enter.outputs[0], "Merge")
        switch = merge and self._taker(merge.outputs[0], "Switch")
        leave = switch and self._taker(switch.outputs[0], "Exit")
        return _Variable(enter, merge, switch, leave and leave.outputs[0])

    def _taker(self, tensor: tf.Tensor, op_type: str) -> tf.Operation | None:
        takers = (op for op, _ in self._piece.view.consumers(tensor))
        return next((op for op in takers if op.type in (op_type, f"Ref{op_type}")), None)

    def _part(self, results: list[tf.Tensor]) -> Piece:
        """What computes `results` from the values at the begin of a step."""
        arguments = {}
        for variable in self._variables:
            name = variable.enter.name
            arguments[variable.enter.outputs[0].name] = name
            if variable.merge is not None:
                arguments[variable.merge.outputs[0].name] = name
            if variable.switch is not None:
                arguments[variable.switch.outputs[1].name] = name
        graph_def = tf.compat.v1.GraphDef(versions=self._piece.graph.graph_def_versions)
        for variable in self._variables:
            value = variable.enter.outputs[0]
            given = node_def(variable.enter.name, "Placeholder", dtype=value.dtype.base_dtype)
            graph_def.node.append(given)
        for op in _needed(results, arguments):
            node = graph_def.node.add()
            node.CopyFrom(op.node_def)
            node.input[:] = [arguments.get(x.name, x.name) for x in op.inputs]
        names = (f"{variable.enter.name}:0" for variable in self._variables)
        given = [arguments.get(result.name, result.name) for result in results]
        given = [name if ":" in name else f"{name}:0" for name in given]
        return piece_of(graph_def, names, given, self._piece.functions)


def _needed(results: list[tf.Tensor], arguments: Collection[str]) -> list[tf.Operation]:
    waiting = [result for result in results if result.name not in arguments]
    needed: dict[tf.Operation, None] = {}
    while waiting:
        op = waiting.pop().op
        if op not in needed:
            needed[op] = None
            waiting += [x for x in op.inputs if x.name not in arguments]
    return list(needed)

"""Ops that hand on the factor of a channel: f(x * s) = f(x) * s for every positive s."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.graph.frozen import evaluate_constants

Numbers = npt.NDArray[np.int64]

_KEEPING = frozenset(
    {
        *("AvgPool", "BatchToSpaceND", "Identity", "LeakyRelu", "MaxPool", "MirrorPad", "Pad"),
        *("Relu", "ResizeBilinear", "ResizeNearestNeighbor", "SpaceToBatchND", "StopGradient"),
    }
)
"""Ops whose result has the channels of their first input where it has them."""

_ADDING = frozenset({"Add", "AddN", "AddV2", "Sub"})
_JOINING = frozenset({"Concat", "ConcatV2"})


@attrs.frozen(eq=False)
class Channels:
    """The channels of a tensor.

    Attributes:
        axis: Axis that they lie along, from 0.
        numbers: int64 ``[C]``; equal numbers are scaled alike.
    """

    axis: int
    numbers: Numbers


@attrs.frozen(eq=False)
class Move:
    """What an op does with channels.

    Attributes:
        ports: The inputs whose channels its result has.
        result: The channels of its result.
        alike: Numbers that must be scaled alike, in pairs of arrays.
    """

    ports: tuple[int, ...]
    result: Channels
    alike: tuple[tuple[Numbers, Numbers], ...] = ()


def move(
    op: tf.Operation, taken: Sequence[Channels | None], others: Callable[[int], Numbers]
) -> Move | None:
    """What `op` does with the channels of what it takes; ``None`` where it uses them up.

    Args:
        op: An op.
        taken: The channels of each of its inputs, ``None`` where there are none that scale.
        others: Gives so many numbers of channels that can't be scaled.
    """
    rank = op.outputs[0].shape.rank if op.outputs else None
    if rank is None or not any(taken):
        return None
    if op.type in _KEEPING:
        found = _kept(0, taken[0])
    elif op.type == "Mul":
        found = _scaled(taken)
    elif op.type in _ADDING:
        found = _added(taken)
    elif op.type in _JOINING:
        found = _joined(op, taken, others)
    else:
        shaping = _SHAPING.get(op.type)
        found = shaping(op, taken[0]) if shaping and taken[0] is not None else None
    if found is None or found.result.axis >= rank:
        return None
    size = op.outputs[0].shape.as_list()[found.result.axis]
    return found if size == len(found.result.numbers) else None


def _kept(port: int, channels: Channels | None) -> Move | None:
    return None if channels is None else Move((port,), channels)


def _scaled(taken: Sequence[Channels | None]) -> Move | None:
    """A product with something that doesn't scale: a constant, or the gate of a channel."""
    ports = [port for port, channels in enumerate(taken) if channels is not None]
    return _kept(ports[0], taken[ports[0]]) if len(ports) == 1 else None


def _added(taken: Sequence[Channels | None]) -> Move | None:
    first, *rest = taken
    if first is None or not all(_fit(first, channels) for channels in rest):
        return None
    alike = tuple((first.numbers, other.numbers) for other in rest if other is not None)
    return Move(tuple(range(len(taken))), first, alike)


def _fit(one: Channels, other: Channels | None) -> bool:
    return other is not None and other.axis == one.axis and other.numbers.shape == one.numbers.shape


def _joined(
    op: tf.Operation, taken: Sequence[Channels | None], others: Callable[[int], Numbers]
) -> Move | None:
    last = op.type == "ConcatV2"
    ports = range(len(op.inputs) - 1) if last else range(1, len(op.inputs))
    rank = op.outputs[0].shape.rank
    axis = int(_constant(op, len(op.inputs) - 1 if last else 0)) % rank
    known = [taken[port] for port in ports]
    first = next(channels for channels in known if channels is not None)
    if any(channels is not None and channels.axis != first.axis for channels in known):
        return None
    if axis != first.axis:
        found = _added(known)
        return None if found is None else attrs.evolve(found, ports=tuple(ports))
    sizes = [op.inputs[port].shape.as_list()[axis] for port in ports]
    if None in sizes:
        return None
    parts = [
        others(size) if channels is None else channels.numbers
        for size, channels in zip(sizes, known, strict=True)
    ]
    return Move(tuple(ports), Channels(axis, np.concatenate(parts)))


def _averaged(op: tf.Operation, channels: Channels) -> Move | None:
    rank = op.inputs[0].shape.rank
    axes = {int(axis) % rank for axis in np.ravel(_constant(op, 1))}
    if channels.axis in axes:
        return None
    gone = 0 if op.get_attr("keep_dims") else sum(axis < channels.axis for axis in axes)
    return Move((0,), Channels(channels.axis - gone, channels.numbers))


def _squeezed(op: tf.Operation, channels: Channels) -> Move | None:
    rank = op.inputs[0].shape.rank
    axes = {axis % rank for axis in op.get_attr("squeeze_dims")}
    if not axes or channels.axis in axes:
        return None
    gone = sum(axis < channels.axis for axis in axes)
    return Move((0,), Channels(channels.axis - gone, channels.numbers))


def _transposed(op: tf.Operation, channels: Channels) -> Move | None:
    order = [int(axis) for axis in _constant(op, 1)]
    return Move((0,), Channels(order.index(channels.axis), channels.numbers))


def _flattened(op: tf.Operation, channels: Channels) -> Move | None:
    """A Reshape of everything but the batch to one axis."""
    shape = op.inputs[0].shape.as_list()[1:]
    if op.outputs[0].shape.rank != 2 or channels.axis == 0 or None in shape:
        return None
    along = [1] * len(shape)
    along[channels.axis - 1] = -1
    numbers = np.broadcast_to(channels.numbers.reshape(along), shape).reshape(-1)
    return Move((0,), Channels(1, numbers))


_SHAPING: dict[str, Callable[[tf.Operation, Channels], Move | None]] = {
    "Mean": _averaged,
    "Reshape": _flattened,
    "Squeeze": _squeezed,
    "Transpose": _transposed,
}


def _constant(op: tf.Operation, port: int) -> npt.NDArray[np.int64]:
    (value,) = evaluate_constants(op.graph, [op.inputs[port]])
    return np.asarray(value, np.int64)

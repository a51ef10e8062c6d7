"""Which channels of a graph are scaled alike, and which of them layers alone give and take.

Where a layer gives a channel and others take it, through ops that hand factors on, the channel can
be divided by any positive number in the first one's weight and multiplied in the weights of the
others, and nothing else changes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import attrs
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.graph import GraphView, PassThrough
from graphquant_core.graph.frozen.shape_ops import SHAPE_TYPES
from graphquant_export.quantized.channel_moves import Channels, Move, Numbers, move
from graphquant_export.quantized.find_layers import LayerPlace


@attrs.frozen(eq=False)
class ChannelFlow:
    """The channels of one graph; those with one number are scaled alike.

    Attributes:
        given: Numbers of the channels that a layer's result has, by its name.
        taken: Numbers of the channels of what a layer takes, likewise.
        fixed: bool, by number: whether something gives or takes it that can't be scaled.
    """

    given: Mapping[str, Numbers]
    taken: Mapping[str, Numbers]
    fixed: npt.NDArray[np.bool_] = attrs.field(repr=False)


def channel_flow(
    view: GraphView, places: Sequence[LayerPlace], outputs: Collection[str]
) -> ChannelFlow:
    """The flow of channels between the layers at `places`.

    Args:
        view: View of the graph, without fake quantisers.
        places: Its layers that are quantised.
        outputs: Names of the ops that are outputs of the model.
    """
    return _Following(view, places).result(frozenset(outputs))


class _Following:
    def __init__(self, view: GraphView, places: Sequence[LayerPlace]) -> None:
        self._view = view
        self._places = [place for place in places if place.weight is not None]
        self._parents: list[int] = []
        self._fixed: set[int] = set()
        self._channels: dict[str, Channels] = {}
        self._moves: dict[str, Move] = {}
        self._given: dict[str, Numbers] = {}

    def result(self, outputs: frozenset[str]) -> ChannelFlow:
        for place in self._places:
            self._give(place)
        for op in self._view.operations:
            self._follow(op)
        takers = {place.op.name: place for place in self._places}
        taken: dict[str, Numbers] = {}
        for op in self._view.operations:
            for port, tensor in enumerate(op.inputs):
                channels = self._channels.get(tensor.name)
                if channels is None or op.type in SHAPE_TYPES:
                    continue
                if _takes(takers.get(op.name), port, channels):
                    taken[op.name] = channels.numbers
                elif op.name not in self._moves or port not in self._moves[op.name].ports:
                    self._fixed.update(channels.numbers.tolist())
            if op.name in outputs:
                self._fix(op.outputs)
        roots = np.array([self._root(number) for number in range(len(self._parents))], np.int64)
        fixed = np.zeros(len(roots), np.bool_)
        fixed[roots[list(self._fixed)]] = True
        return ChannelFlow(
            {name: roots[numbers] for name, numbers in self._given.items()},
            {name: roots[numbers] for name, numbers in taken.items()},
            fixed,
        )

    def _give(self, place: LayerPlace) -> None:
        result = place.tail[-1].output if place.tail else place.op.outputs[0]
        shaped = any(isinstance(s, PassThrough) and s.op.type == "Squeeze" for s in place.tail)
        count = place.layer.output_channels
        if result.shape.rank is None or shaped or not count:
            return
        numbers = self._new(count)
        self._given[place.layer.name] = numbers
        axis = place.layer.output_channel_axis % result.shape.rank
        self._channels[result.name] = Channels(axis, numbers)

    def _follow(self, op: tf.Operation) -> None:
        if not op.outputs or op.outputs[0].name in self._channels:
            return
        found = move(op, [self._channels.get(x.name) for x in op.inputs], self._unscaled)
        if found is None:
            return
        for one, other in found.alike:
            for pair in zip(one.tolist(), other.tolist(), strict=True):
                self._unite(*pair)
        self._moves[op.name] = found
        self._channels[op.outputs[0].name] = found.result

    def _fix(self, tensors: Sequence[tf.Tensor]) -> None:
        for tensor in tensors:
            channels = self._channels.get(tensor.name)
            if channels is not None:
                self._fixed.update(channels.numbers.tolist())

    def _new(self, count: int) -> Numbers:
        first = len(self._parents)
        self._parents.extend(range(first, first + count))
        return np.arange(first, first + count)

    def _unscaled(self, count: int) -> Numbers:
        numbers = self._new(count)
        self._fixed.update(numbers.tolist())
        return numbers

    def _root(self, number: int) -> int:
        while self._parents[number] != number:
            self._parents[number] = self._parents[self._parents[number]]
            number = self._parents[number]
        return number

    def _unite(self, one: int, other: int) -> None:
        self._parents[self._root(other)] = self._root(one)


def _takes(place: LayerPlace | None, port: int, channels: Channels) -> bool:
    """Whether the layer at `place` takes `channels` at `port`, each with weights of its own."""
    if place is None or port != place.layer.activation_port:
        return False
    axis, shape = place.layer.weight_input_axis, place.layer.weight_shape
    rank = place.op.inputs[port].shape.rank
    return (
        place.split is None
        and axis is not None
        and shape is not None
        and shape[axis] == len(channels.numbers)
        and place.layer.input_channel_axis % rank == channels.axis
    )

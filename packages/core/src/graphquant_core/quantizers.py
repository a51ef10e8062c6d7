"""The contracts of activation and weight quantisers: what a strategy gets, and what it returns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import attrs

from graphquant_core.grid import Grid

if TYPE_CHECKING:
    import tensorflow as tf


@attrs.frozen
class QuantizerRequest:
    """What a quantiser is asked to build.

    Attributes:
        key: Name that stays the same in the training graph and in the inference graph, for a
            quantiser's variables: ``<key>/<variable>``.
        grid: Integers to quantise to.
        axes: Channel axes of the tensor, ``()`` for one scale per tensor.
        options: Options of the strategy, as the configuration gives them.
    """

    key: str
    grid: Grid
    axes: tuple[int, ...] = ()
    options: Mapping[str, Any] = attrs.field(factory=dict)


@attrs.frozen(eq=False)
class FakeQuantized:
    """A tensor on a grid, and the grid's factors as tensors of the same graph.

    Attributes:
        output: float32, the shape of the input: ``(q - offset) * scale`` with integer q.
        scale: float32, ``[]`` or ``[C]``, above zero.
        offset: The shape of `scale`: int32 where zero is a code, and then zero for symmetric
            grids; float32 where it need not be one, as on MNN's asymmetric weight grids.
        grid: The integers q.
        calibrated: bool ``[]``, whether the factors come from data; ``None`` when they need none.
    """

    output: tf.Tensor
    scale: tf.Tensor
    offset: tf.Tensor
    grid: Grid
    calibrated: tf.Tensor | None = None


@runtime_checkable
class ActivationQuantizer(Protocol):
    """Builds the fake quantisation of an activation into the default graph.

    `build` runs in a graph of its own, of which copies go to the user's graph, or in the user's
    graph itself. So it uses nothing but its arguments: its ops are computed from `values` and from
    variables called ``<request.key>/<name>``.

    A quantiser that cuts off itself what an activation function in front of it does, once its
    minimum is fixed at 0, says so with an attribute ``computes``, a frozenset of op types. Where
    one of them stands in front, it is asked with the option ``behind``, the type, and in a graph
    that trains with ``bypassed``, too: then `values` are what goes into that function.

    Attributes:
        name: Name that configurations know the quantiser by.
    """

    name: str

    def build(self, values: tf.Tensor, request: QuantizerRequest) -> FakeQuantized:
        """`values` on the grid of `request`, with a gradient to trained ranges if it has any."""
        ...


@runtime_checkable
class WeightQuantizer(Protocol):
    """Builds the fake quantisation of a weight into the default graph.

    The rules for `build` are those of `ActivationQuantizer`. A quantiser that only needs the rank
    of the weight says so with an attribute ``any_shape = True``: it is then built once for all
    layers of a rank, with unknown sizes.

    Attributes:
        name: Name that configurations know the quantiser by.
    """

    name: str

    def build(self, weight: tf.Tensor, request: QuantizerRequest) -> FakeQuantized:
        """`weight` on the grid of `request`, one scale for each channel of ``request.axes``."""
        ...

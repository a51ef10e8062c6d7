"""Where in a frozen graph its layers stand, whatever their factors are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs
import tensorflow as tf

from graphquant_core.exceptions import ModelFileError
from graphquant_core.graph import GraphView, Step, affine_tail
from graphquant_core.graph.control_flow import carried_from
from graphquant_core.graph.rewire import (
    ACTIVATION_INPUT,
    ACTIVATION_OUTPUT,
    WEIGHT_OUTPUT,
    marked_input,
    role_of,
)
from graphquant_core.layer import Layer

EXPORTED_TYPES = frozenset({"AscendQuant", "AscendWeightQuant", "AscendDequant", "AscendAntiQuant"})
"""Ops of a graph that was exported before."""


@attrs.frozen(eq=False)
class LayerPlace:
    """One layer in the graph.

    Attributes:
        layer: Description of the layer.
        op: Its op.
        activation: The float tensor that is to be quantised: what goes into the fake quantiser
            when there is one.
        split: What is split, without fake quantiser, when the activation is an output of a Split.
        weight: The tensor at the weight port, outside of a cond; ``None`` without weight.
        trained: Whether the weight comes out of a fake quantiser, hence lies on its grid.
        tail: Steps behind the op that fold into it.
    """

    layer: Layer
    op: tf.Operation
    activation: tf.Tensor
    split: tf.Tensor | None
    weight: tf.Tensor | None
    trained: bool
    tail: tuple[Step, ...]

    @property
    def quantized(self) -> tf.Tensor:
        """The tensor whose range the quantiser has: a group is quantised before its Split."""
        return self.activation if self.split is None else self.split


def check_not_exported(view: GraphView) -> None:
    """Returns when the graph has no op of an exported one.

    Raises:
        ModelFileError: The model was exported already; names the op.
    """
    for op in view.operations:
        if op.type in EXPORTED_TYPES:
            raise ModelFileError(
                f'the model was quantised before: it has "{op.name}" ({op.type}); give the frozen '
                "model from before the export"
            )


def find_layers(
    view: GraphView, layers: Iterable[Layer], outputs: Sequence[str]
) -> list[LayerPlace]:
    """The place of each of `layers`, in their order.

    Args:
        view: View of the graph.
        layers: Layers of its plan.
        outputs: Names of the ops that are outputs of the model, which nothing is folded past.
    """
    keep = frozenset(outputs)
    return [_place(view, layer, keep) for layer in layers]


def _place(view: GraphView, layer: Layer, keep: frozenset[str]) -> LayerPlace:
    op = view.graph.get_operation_by_name(layer.name)
    activation = _before_fake_quantizer(op.inputs[layer.activation_port])
    # A group convolution is quantised before its Split, once.
    splits = activation.op.type == "Split"
    split = _before_fake_quantizer(activation.op.inputs[1]) if splits else None
    if layer.weight_port is None:
        return LayerPlace(layer, op, activation, split, None, False, ())
    weight = carried_from(op.inputs[layer.weight_port])
    channels = layer.output_channels or 0
    tail = affine_tail(view, op.outputs[0], layer.output_channel_axis, channels, keep)
    trained = role_of(op.inputs[layer.weight_port].op) == WEIGHT_OUTPUT
    return LayerPlace(layer, op, activation, split, weight, trained, tail)


def _before_fake_quantizer(tensor: tf.Tensor) -> tf.Tensor:
    """What goes into the fake quantiser that `tensor` comes out of; else `tensor` itself."""
    if role_of(tensor.op) != ACTIVATION_OUTPUT:
        return tensor
    return marked_input(tensor, ACTIVATION_INPUT)

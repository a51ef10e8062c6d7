"""Group convolutions by Split and Concat: one quantiser before the Split serves all groups."""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from graphquant_core.graph import GraphView, affine_tail
from graphquant_core.layer import Layer
from graphquant_qat.config.model import ActivationConfig

CONCAT_TYPES = ("Concat", "ConcatV2")


def splits_of_groups(
    view: GraphView, layers: Mapping[str, tuple[Layer, ActivationConfig]]
) -> dict[str, tf.Operation]:
    """The Split whose input is quantised instead of its outputs, by the name of each layer.

    Every output of such a Split goes into one Conv2D of `layers` and nowhere else, all of them
    have one configuration, and one Concat takes what they return, bias added: the pattern that
    Ascend's compiler turns into one group convolution of integers.

    Args:
        view: View of the graph before it is rewritten.
        layers: The layers to quantise with the configurations of their activations, by name.
    """
    found: dict[str, tf.Operation] = {}
    for op in view.of_types(["Split"]):
        found |= dict.fromkeys(_members(view, op, layers), op)
    return found


def _members(
    view: GraphView, split: tf.Operation, layers: Mapping[str, tuple[Layer, ActivationConfig]]
) -> list[str]:
    """Names of the layers behind `split`, when they form a group; else nothing."""
    takers = [view.consumers(part) for part in split.outputs]
    if any(len(several) != 1 for several in takers):
        return []
    ops = [several[0] for several in takers]
    if any(op.type != "Conv2D" or op.name not in layers for op, _ in ops):
        return []
    known = [layers[op.name] for op, _ in ops]
    if any(port != layer.activation_port for (_, port), (layer, _) in zip(ops, known, strict=True)):
        return []
    joins = {_join(view, op, layer) for (op, _), (layer, _) in zip(ops, known, strict=True)}
    if None in joins or len(joins) > 1 or len({config for _, config in known}) > 1:
        return []
    return [op.name for op, _ in ops]


def _join(view: GraphView, op: tf.Operation, layer: Layer) -> str | None:
    """Name of the Concat that takes the result of `op`, ``None`` when something else does."""
    axis, channels = layer.output_channel_axis, layer.output_channels or 0
    tail = affine_tail(view, op.outputs[0], axis, channels)
    consumers = view.consumers(tail[-1].output if tail else op.outputs[0])
    if len(consumers) != 1 or consumers[0][0].type not in CONCAT_TYPES:
        return None
    return str(consumers[0][0].name)

"""Group convolutions: Split -> {Conv2D -> [BiasAdd]}* -> Concat, as one pattern."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import attrs
import tensorflow as tf

from graphquant_core.graph.frozen import GraphDefEditor
from graphquant_export.quantized.layer import QuantizedLayer


@attrs.frozen(eq=False)
class Group:
    """Convolutions between one Split and one Concat along the channels.

    Attributes:
        split: The Split, whose outputs the members take.
        value: The float tensor that is split.
        concat: The Concat or ConcatV2 that takes what they return.
        members: The convolutions, in the order of `concat`.
        first_port: Input of `concat` that the first member feeds.
    """

    split: tf.Operation
    value: tf.Tensor
    concat: tf.Operation
    members: tuple[QuantizedLayer, ...]
    first_port: int


def find_groups(
    editor: GraphDefEditor,
    outputs: Collection[str],
    layers: Sequence[QuantizedLayer],
) -> list[Group]:
    """The groups among `layers` whose members have one scale_d and one offset_d.

    Such a group can be quantised before its Split and dequantised behind its Concat. Members with
    factors of their own are deployed each for itself, which computes the same.

    Args:
        editor: The graph, without fake quantisers.
        outputs: Names of the outputs of the model.
        layers: The quantised layers.
    """
    by_split: dict[tf.Operation, list[QuantizedLayer]] = {}
    for layer in layers:
        if layer.op.type == "Conv2D" and layer.place.split is not None:
            by_split.setdefault(layer.place.activation.op, []).append(layer)
    found = (_group(editor, outputs, split, members) for split, members in by_split.items())
    return [group for group in found if group is not None]


def _group(
    editor: GraphDefEditor,
    outputs: Collection[str],
    split: tf.Operation,
    members: list[QuantizedLayer],
) -> Group | None:
    value = members[0].place.split
    takers = [editor.consumers(tensor.name) for tensor in split.outputs]
    wanted = sorted((member.op.name, member.layer.activation_port) for member in members)
    if value is None or sorted(taker for several in takers for taker in several) != wanted:
        return None
    if split.name in outputs or {len(several) for several in takers} != {1}:
        return None
    if len({(member.factors.scale_d, member.factors.offset_d) for member in members}) > 1:
        return None
    last = [member.last for member in members]
    if any(tensor.op.name in outputs for tensor in last) or any(
        step.op.type == "Squeeze" for member in members for step in member.integers.steps
    ):
        return None
    joined = [editor.consumers(tensor.name) for tensor in last]
    names = {name for several in joined for name, _ in several}
    if len(names) != 1:
        return None
    concat = split.graph.get_operation_by_name(names.pop())
    if concat.type not in ("Concat", "ConcatV2") or concat.get_attr("N") != len(members):
        return None
    if not _along_channels(split, concat, members[0]):
        return None
    ports = [port for several in joined for _, port in several]
    order = sorted(range(len(members)), key=ports.__getitem__)
    ordered = tuple(members[index] for index in order)
    return Group(split, value, concat, ordered, min(ports))


def _along_channels(split: tf.Operation, concat: tf.Operation, member: QuantizedLayer) -> bool:
    rank = member.op.outputs[0].shape.rank
    axis = member.layer.output_channel_axis
    concat_axis = concat.inputs[0 if concat.type == "Concat" else len(concat.inputs) - 1]
    values = [tf.get_static_value(tensor) for tensor in (split.inputs[0], concat_axis)]
    return rank is not None and all(
        value is not None and int(value) % rank == axis % rank for value in values
    )

"""Group convolutions: Split -> {Conv2D -> [BiasAdd]}* -> Concat, as one pattern."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence

import attrs
import tensorflow as tf

from graphquant_core.graph.frozen import GraphDefEditor
from graphquant_core.listing import listed_names
from graphquant_export.quantized.layer import QuantizedLayer

logger = logging.getLogger(__name__)


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
    factors of their own are deployed each for itself, which computes the same; why others are no
    group is logged.

    Args:
        editor: The graph, without fake quantisers.
        outputs: Names of the outputs of the model.
        layers: The quantised layers.
    """
    by_split: dict[tf.Operation, list[QuantizedLayer]] = {}
    for layer in layers:
        if layer.op.type == "Conv2D" and layer.place.split is not None:
            by_split.setdefault(layer.place.activation.op, []).append(layer)
    groups = []
    for split, members in by_split.items():
        found = _group(editor, outputs, split, members)
        if isinstance(found, Group):
            groups.append(found)
        else:
            logger.info(
                'the convolutions behind "%s" (%s) are no group, and are deployed one by one: %s',
                split.name,
                split.type,
                found,
            )
    return groups


def _group(
    editor: GraphDefEditor,
    outputs: Collection[str],
    split: tf.Operation,
    members: list[QuantizedLayer],
) -> Group | str:
    """The group of `members`; why they are none, otherwise."""
    joined = [editor.consumers(member.last.name) for member in members]
    problem = _parts_problem(editor, outputs, split, members) or _results_problem(
        outputs, members, joined
    )
    if problem:
        return problem
    concat = split.graph.get_operation_by_name(joined[0][0][0])
    value = members[0].place.split
    if value is None or not _along_channels(split, concat, members[0]):
        return f'"{split.name}" or "{concat.name}" is not along the channels'
    ports = [port for several in joined for _, port in several]
    order = sorted(range(len(members)), key=ports.__getitem__)
    ordered = tuple(members[index] for index in order)
    return Group(split, value, concat, ordered, min(ports))


def _parts_problem(
    editor: GraphDefEditor,
    outputs: Collection[str],
    split: tf.Operation,
    members: list[QuantizedLayer],
) -> str | None:
    """Why what is split isn't quantised before it; ``None`` when it can be."""
    takers = [editor.consumers(tensor.name) for tensor in split.outputs]
    known = {(member.op.name, member.layer.activation_port) for member in members}
    if others := [name for part in takers for name, port in part if (name, port) not in known]:
        return f"{listed_names(others)} takes a part as well, and is no quantised Conv2D"
    if split.name in outputs:
        return f'"{split.name}" is an output of the model'
    for index, part in enumerate(takers):
        if len(part) != 1:
            return f"part {index} is taken by {len(part)} layers"
    if len({(member.factors.scale_d, member.factors.offset_d) for member in members}) > 1:
        return "their inputs have different scales or offsets"
    return None


def _results_problem(
    outputs: Collection[str],
    members: list[QuantizedLayer],
    joined: list[list[tuple[str, int]]],
) -> str | None:
    """Why what `members` return isn't dequantised behind one Concat; ``None`` when it can be."""
    for member in members:
        if member.last.op.name in outputs:
            return f'"{member.last.op.name}" is an output of the model'
        if any(step.op.type == "Squeeze" for step in member.integers.steps):
            return f'a Squeeze stands behind "{member.op.name}"'
    names = list(dict.fromkeys(name for several in joined for name, _ in several))
    if len(names) != 1:
        return f"no single op takes what they return, but {listed_names(names)}"
    taker = members[0].op.graph.get_operation_by_name(names[0])
    if taker.type not in ("Concat", "ConcatV2"):
        return f'"{taker.name}" ({taker.type}), which takes what they return, is no Concat'
    if taker.get_attr("N") != len(members):
        return f'"{taker.name}" ({taker.type}) takes something else as well'
    return None


def _along_channels(split: tf.Operation, concat: tf.Operation, member: QuantizedLayer) -> bool:
    rank = member.op.outputs[0].shape.rank
    axis = member.layer.output_channel_axis
    concat_axis = concat.inputs[0 if concat.type == "Concat" else len(concat.inputs) - 1]
    values = [tf.get_static_value(tensor) for tensor in (split.inputs[0], concat_axis)]
    return rank is not None and all(
        value is not None and int(value) % rank == axis % rank for value in values
    )

"""Group convolutions: Split -> {Conv2D -> [BiasAdd]}* -> Concat, as one pattern."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import attrs
import tensorflow as tf

from graphquant_core.graph.frozen import GraphDefEditor
from graphquant_export.targets.ascend.layer_integers import LayerIntegers
from graphquant_export.targets.ascend.sites import Site


@attrs.frozen(eq=False)
class Group:
    """Convolutions between one Split and one Concat along the channels.

    Attributes:
        split: The Split, whose outputs the members take.
        value: The float tensor that is split.
        concat: The Concat or ConcatV2 that takes what they return.
        members: The convolutions with their integers, in the order of `concat`.
        first_port: Input of `concat` that the first member feeds.
    """

    split: tf.Operation
    value: tf.Tensor
    concat: tf.Operation
    members: tuple[tuple[Site, LayerIntegers], ...]
    first_port: int


def find_groups(
    editor: GraphDefEditor,
    outputs: Collection[str],
    layers: Sequence[tuple[Site, LayerIntegers]],
) -> list[Group]:
    """The groups among `layers` whose members have one scale_d and one offset_d.

    Such a group can be quantised before its Split and dequantised behind its Concat. Members with
    factors of their own are deployed each for itself, which computes the same.

    Args:
        editor: The graph, without fake quantisers.
        outputs: Names of the outputs of the model.
        layers: The layers to deploy.
    """
    by_split: dict[tf.Operation, list[tuple[Site, LayerIntegers]]] = {}
    for site, numbers in layers:
        if site.op.type == "Conv2D" and site.split is not None:
            by_split.setdefault(site.activation.op, []).append((site, numbers))
    found = (_group(editor, outputs, split, members) for split, members in by_split.items())
    return [group for group in found if group is not None]


def _group(
    editor: GraphDefEditor,
    outputs: Collection[str],
    split: tf.Operation,
    members: list[tuple[Site, LayerIntegers]],
) -> Group | None:
    sites = [site for site, _ in members]
    value = sites[0].split
    takers = [editor.consumers(tensor.name) for tensor in split.outputs]
    wanted = sorted((site.op.name, site.layer.activation_port) for site in sites)
    if value is None or sorted(taker for several in takers for taker in several) != wanted:
        return None
    if split.name in outputs or {len(several) for several in takers} != {1}:
        return None
    if len({(site.factors.scale_d, site.factors.offset_d) for site in sites}) > 1:
        return None
    last = [numbers.steps[-1].output if numbers.steps else site.op.outputs[0]
            for site, numbers in members]  # fmt: skip
    if any(tensor.op.name in outputs for tensor in last) or any(
        step.op.type == "Squeeze" for _, numbers in members for step in numbers.steps
    ):
        return None
    joined = [editor.consumers(tensor.name) for tensor in last]
    names = {name for several in joined for name, _ in several}
    if len(names) != 1:
        return None
    concat = split.graph.get_operation_by_name(names.pop())
    if concat.type not in ("Concat", "ConcatV2") or concat.get_attr("N") != len(members):
        return None
    if not _along_channels(split, concat, sites[0]):
        return None
    ports = [port for several in joined for _, port in several]
    order = sorted(range(len(members)), key=ports.__getitem__)
    ordered = tuple(members[index] for index in order)
    return Group(split, value, concat, ordered, min(ports))


def _along_channels(split: tf.Operation, concat: tf.Operation, site: Site) -> bool:
    rank = site.op.outputs[0].shape.rank
    axis = site.layer.output_channel_axis
    concat_axis = concat.inputs[0 if concat.type == "Concat" else len(concat.inputs) - 1]
    values = [tf.get_static_value(tensor) for tensor in (split.inputs[0], concat_axis)]
    return rank is not None and all(
        value is not None and int(value) % rank == axis % rank for value in values
    )

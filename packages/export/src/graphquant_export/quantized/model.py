"""A quantised model: a frozen graph with what each of its layers computes with."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from weakref import WeakValueDictionary

import attrs
import numpy as np
import tensorflow as tf

from graphquant_core.derived import Keeping
from graphquant_core.float_layers import warn_of_float_layers, without_asides
from graphquant_core.graph import GraphView, plan_graph
from graphquant_core.graph.frozen import (
    GraphDefEditor,
    check_outputs,
    import_frozen,
    strip_later_attributes,
    tensor_name,
    without_value_quantizers,
)
from graphquant_core.graph.frozen.marks import check_marks
from graphquant_core.layer import Skip
from graphquant_core.plan import Plan
from graphquant_core.record import LayerFactors, Record
from graphquant_core.weight_record import Factors
from graphquant_export.quantized.find_layers import LayerPlace, check_not_exported, find_layers
from graphquant_export.quantized.groups import Group, find_groups
from graphquant_export.quantized.layer import QuantizedLayer
from graphquant_export.quantized.layer_integers import constant_values, layer_integers
from graphquant_export.quantized.match_record import checked_record, match_record
from graphquant_export.quantized.rescale import balanced_by_record

logger = logging.getLogger(__name__)

Key = tuple[bytes, tuple[str, ...]]


@attrs.frozen(eq=False)
class QuantizedModel(Keeping):
    """What every target writes in its own form.

    Attributes:
        graph_def: The frozen graph, pruned to its outputs, with its fake quantisers, and with its
            channels balanced as the record says.
        outputs: Names of the ops that are its outputs.
        layers: The quantised layers, in the order of the graph.
        groups: The group convolutions among them.
        floats: The layers of the graph that stay float, with the reasons.
    """

    graph_def: tf.compat.v1.GraphDef = attrs.field(repr=False)
    outputs: tuple[str, ...]
    layers: tuple[QuantizedLayer, ...]
    groups: tuple[Group, ...] = attrs.field(repr=False)
    floats: tuple[Skip, ...] = attrs.field(default=(), repr=False)

    def warn_of_floats(
        self, logger: logging.Logger, target: str, others: Sequence[Skip] = ()
    ) -> None:
        """Logs once how many layers stay float, and why.

        Args:
            logger: Logger of the target.
            target: What runs the model.
            others: Layers of the record that it computes in float all the same; they come first,
                as nobody asked for that.
        """
        floats = (*others, *self.floats)
        warn_of_float_layers(logger, floats, len(self.layers) + len(self.floats), target)

    def float_editor(self) -> GraphDefEditor:
        """The graph to edit, without the fake quantisers of its layers."""
        return _without_fake_quantizers(
            self.graph_def, self.outputs, [layer.place for layer in self.layers]
        )


def quantized_model(
    model: tf.compat.v1.GraphDef, outputs: Sequence[str], record: Factors
) -> QuantizedModel:
    """`model` with the integers that `record` makes of its layers.

    The same is handed out again, as long as somebody has it, for a model, outputs and factors of
    the same content. Channels whose codes are all zero are logged when it is built.

    Args:
        model: Frozen graph: the one that was trained, with its fake quantisers, or a float one.
        outputs: Names of the ops that are the model's outputs.
        record: Scales and offsets of the layers.

    Raises:
        OutputNotFoundError: An output is not in the model.
        RecordError: The record doesn't belong to the model, or is none.
        EmptyRecordError: The record holds no layer.
        UnsupportedLayerError: A layer of the record is inside a while loop.
        BiasOverflowError: A bias doesn't fit into int32.
        NonFiniteError: A weight or a folded factor is NaN or infinite.
        ModelFileError: The model is not frozen, or was exported before.
    """
    record = checked_record(record)
    names = tuple(check_outputs(model, outputs))
    key = content_key(model, names, record)
    found = _in_use.get(key)
    if found is None:
        found = _in_use[key] = _build(model, names, record)
    return found


_in_use: WeakValueDictionary[Key, QuantizedModel] = WeakValueDictionary()


def content_key(model: tf.compat.v1.GraphDef, outputs: Sequence[str], record: Record) -> Key:
    """What tells models, outputs and the factors of layers from others, by their content."""
    digest = hashlib.sha256()
    # Node after node: protobuf writes a large message at once into a buffer that it moves as it
    # grows, and takes longer over that than the rest takes.
    rest = tf.compat.v1.GraphDef(versions=model.versions, library=model.library)
    for part in (rest, *model.node):
        content = part.SerializeToString(deterministic=True)
        digest.update(len(content).to_bytes(8, "little") + content)
    for name, factors in record.items():
        digest.update(repr((name, attrs.astuple(factors, filter=_is_no_array))).encode())
        for array in (
            factors.scale_w,
            factors.offset_w,
            factors.balance,
            factors.bias_correction,
        ):
            digest.update(b"" if array is None else repr(array.shape).encode() + array.tobytes())
    return digest.digest(), tuple(outputs)


def _is_no_array(attribute: attrs.Attribute[object], value: object) -> bool:  # noqa: ARG001
    return not isinstance(value, np.ndarray)


def _build(
    model: tf.compat.v1.GraphDef, outputs: tuple[str, ...], record: Record
) -> QuantizedModel:
    check_marks(model)
    pruned = GraphDefEditor(without_value_quantizers(model)).graph_def(outputs)
    pruned = balanced_by_record(pruned, outputs, record)
    graph = import_frozen(pruned)
    view = GraphView(graph)
    check_not_exported(view)
    plan = plan_graph(graph, view=view)
    record = match_record(view, plan, record)
    wanted = [layer for layer in plan.layers if layer.name in record]
    places = find_layers(view, wanted, outputs)
    layers = _layers(graph, pruned, [(place, record[place.layer.name]) for place in places])
    strip_later_attributes(pruned, graph)
    editor = _without_fake_quantizers(pruned, outputs, [layer.place for layer in layers])
    groups = find_groups(editor, outputs, layers)
    return QuantizedModel(pruned, outputs, layers, tuple(groups), _floats(plan, record))


def _floats(plan: Plan, record: Record) -> tuple[Skip, ...]:
    floats = []
    for row in without_asides(plan.rows):
        if isinstance(row, Skip):
            floats.append(row)
        elif row.name not in record:
            floats.append(Skip(row.name, row.op_type, "the record has no entry for it"))
    return tuple(floats)


def _layers(
    graph: tf.Graph,
    graph_def: tf.compat.v1.GraphDef,
    found: Sequence[tuple[LayerPlace, LayerFactors]],
) -> tuple[QuantizedLayer, ...]:
    values = constant_values(graph, [place for place, _ in found], graph_def)
    layers = []
    for place, factors in found:
        layers.append(QuantizedLayer(place, factors, layer_integers(place, factors, values)))
    for layer in layers:
        for sentence in layer.integers.weak:
            logger.warning('layer "%s": %s', layer.name, sentence)
    return tuple(layers)


def _without_fake_quantizers(
    graph_def: tf.compat.v1.GraphDef, outputs: Sequence[str], places: Sequence[LayerPlace]
) -> GraphDefEditor:
    """Takes them out with their scopes, which the nodes of the layers are named after."""
    editor = GraphDefEditor(graph_def)
    for place in places:
        x = tensor_name(place.activation.name)
        editor.set_input(place.op.name, place.layer.activation_port, x)
        if place.split is not None:
            editor.set_input(place.activation.op.name, 1, tensor_name(place.split.name))
    weights = {(place.op.name, place.layer.weight_port) for place in places
               if place.weight is not None}  # fmt: skip
    editor.drop_unneeded(outputs, [(name, port) for name, port in weights if port is not None])
    return editor

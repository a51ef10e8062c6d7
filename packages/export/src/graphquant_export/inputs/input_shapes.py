"""Static shapes for inputs whose shapes are open, as converters want them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import tensorflow as tf

from graphquant_core.exceptions import ConfigError, ModelFileError, UnknownNameError
from graphquant_core.graph.frozen import GraphDefEditor, import_frozen, tensor_name
from graphquant_core.graph.frozen.node_def import attribute_value
from graphquant_core.listing import listed
from graphquant_core.suggestions import closest
from graphquant_export.inputs.brief import brief
from graphquant_export.inputs.loaded_model import LoadedModel

Shape = Sequence[int | None]


def with_input_shapes(model: LoadedModel, shapes: Mapping[str, Shape]) -> LoadedModel:
    """`model` whose inputs have `shapes`.

    Args:
        model: The model.
        shapes: By the name of the input; ``None`` is a size that stays open.

    Raises:
        UnknownNameError: A name is none of an input; lists those that there are.
        ConfigError: A shape is no list of sizes, contradicts the one that the input has, or is one
            that an op of the model can't take.
    """
    if not isinstance(shapes, Mapping):
        raise ConfigError(f"input_shapes ({shapes!r}) must map names of inputs to shapes, or None")
    editor = GraphDefEditor(model.graph_def)
    for given, shape in shapes.items():
        name = tensor_name(given)
        if name not in model.inputs:
            raise UnknownNameError(
                f'input_shapes: the model has no input "{name}"{closest(name, model.inputs)}; it '
                f"has {listed(model.inputs)}"
            )
        node = editor.node(name)
        fixed = _checked(name, shape, tf.TensorShape(node.attr["shape"].shape))
        node.attr["shape"].CopyFrom(attribute_value(fixed))
    graph_def = editor.graph_def(model.outputs)
    for each in graph_def.node:
        each.attr.pop("_output_shapes", None)
    try:
        import_frozen(graph_def)
    except ModelFileError as error:
        given = listed(f'"{name}" ({_text(shape)})' for name, shape in shapes.items())
        raise ConfigError(f"input_shapes: with {given} {brief(error)}") from error
    return LoadedModel(graph_def, model.inputs, model.outputs)


def _checked(name: str, shape: object, known: tf.TensorShape) -> tf.TensorShape:
    where = f'input_shapes: the shape of "{name}" ({_text(shape)})'
    if isinstance(shape, str) or not isinstance(shape, Sequence):
        raise ConfigError(f"{where} must be a list of sizes")
    for size in shape:
        whole = size is None or (hasattr(size, "__index__") and not isinstance(size, bool))
        if not whole or (size is not None and int(size) < 1):
            raise ConfigError(f"{where} must hold sizes of at least 1, and None for an open one")
    wanted = tf.TensorShape([None if size is None else int(size) for size in shape])
    if not known.is_compatible_with(wanted):
        raise ConfigError(f"{where} contradicts that of the model, ({_text(known.as_list())})")
    return known.merge_with(wanted)


def _text(shape: object) -> str:
    if not isinstance(shape, Sequence) or isinstance(shape, str):
        return repr(shape)
    return listed("?" if size is None else size for size in shape)

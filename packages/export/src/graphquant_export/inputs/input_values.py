"""Values that inputs always have, such as that of a switch between training and inference."""

from __future__ import annotations

from collections.abc import Mapping

import numpy.typing as npt

from graphquant_core.exceptions import ConfigError, UnknownNameError
from graphquant_core.graph.frozen import GraphDefEditor, tensor_name
from graphquant_core.graph.frozen.node_def import node_def
from graphquant_core.listing import listed
from graphquant_core.suggestions import closest
from graphquant_export.inputs.feeds import checked_value
from graphquant_export.inputs.finish import finish
from graphquant_export.inputs.loaded_model import LoadedModel


def with_input_values(model: LoadedModel, values: Mapping[str, npt.ArrayLike]) -> LoadedModel:
    """`model` with a constant in the place of each input of `values`.

    Args:
        model: The model.
        values: By the name of the input.

    Raises:
        UnknownNameError: A name is none of an input; lists those that there are.
        ConfigError: All inputs have values.
        RangeError: A value doesn't have the type or the shape of its input.
        NonFiniteError: A value holds NaN or infinity.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"input_values ({values!r}) must map names of inputs to values, or None")
    graph = model.graph()
    editor = GraphDefEditor(model.graph_def)
    given = {tensor_name(str(name)): value for name, value in values.items()}
    for name, value in given.items():
        if name not in model.inputs:
            raise UnknownNameError(
                f'input_values: the model has no input "{name}"{closest(name, model.inputs)}; it '
                f"has {listed(model.inputs)}"
            )
        tensor = graph.get_tensor_by_name(f"{name}:0")
        array = checked_value(tensor, value, "input_values")
        editor.replace(node_def(name, "Const", dtype=tensor.dtype, value=array))
    kept = [name for name in model.inputs if name not in given]
    if not kept:
        raise ConfigError(f"input_values: no input is left of {listed(model.inputs)}")
    graph_def = editor.graph_def(model.outputs)
    for node in graph_def.node:
        # What TensorFlow noted of shapes may come from what was open.
        node.attr.pop("_output_shapes", None)
    return finish(graph_def, model.outputs, kept)

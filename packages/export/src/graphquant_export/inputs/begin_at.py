"""Where a model begins, when that is behind the preprocessing in its graph."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from graphquant_core.exceptions import ConfigError, UnknownNameError
from graphquant_core.graph import GraphView
from graphquant_core.graph.frozen import GraphDefEditor, tensor_name
from graphquant_core.graph.frozen.node_def import node_def
from graphquant_core.listing import listed
from graphquant_core.suggestions import closest
from graphquant_export.inputs.loaded_model import LoadedModel


def begin_at(
    model: LoadedModel, inputs: Sequence[str], *, keep_outputs: bool = True
) -> LoadedModel:
    """`model` with a placeholder in the place of each op of `inputs`, under its name.

    What only these ops needed is gone. Another placeholder that is still needed stays an input.

    Args:
        model: The model.
        inputs: Names of ops in it.
        keep_outputs: Whether the outputs that `inputs` have no part in stay outputs.

    Raises:
        ConfigError: `inputs` is no list of names, or holds an op that can't be fed, or one that
            no output needs beside the others.
        UnknownNameError: A name is none of an op; names the closest.
    """
    if isinstance(inputs, str) or not inputs:
        raise ConfigError(f"inputs ({inputs!r}) must be a list of op names, or None")
    view = GraphView(model.graph())
    known = {op.name: op for op in view.operations}
    names = list(dict.fromkeys(tensor_name(name) for name in inputs))
    editor = GraphDefEditor(model.graph_def)
    for name in names:
        if name not in known:
            raise UnknownNameError(f'inputs: the model has no op "{name}"{closest(name, known)}')
        editor.replace(_placeholder(view, known[name]))
    behind = view.downstream(known[name] for name in names)
    needed = [name for name in model.outputs if known[name] in behind]
    outputs = model.outputs if keep_outputs or not needed else tuple(needed)
    graph_def = editor.graph_def(outputs)
    for node in graph_def.node:
        # What TensorFlow noted of shapes may come from what is gone.
        node.attr.pop("_output_shapes", None)
    left = [node.name for node in graph_def.node if node.op.startswith("Placeholder")]
    for name in names:
        if name not in left:
            others = [other for other in names if other != name]
            raise ConfigError(
                f'inputs: no output of the model ({listed(outputs)}) needs "{name}"'
                + (f" beside {listed(others)}" if others else "")
            )
    kept = [name for name in model.inputs if name in left and name not in names]
    return LoadedModel(graph_def, (*names, *kept), outputs)


def _placeholder(view: GraphView, op: tf.Operation) -> tf.compat.v1.NodeDef:
    """What is fed in the place of `op`."""
    tensor = op.outputs[0] if op.outputs else None
    if tensor is None or not view.depends_on_data(tensor) or not _can_be_fed(tensor.dtype):
        kind = "nothing" if tensor is None else tensor.dtype.name
        raise ConfigError(
            f'inputs: "{op.name}" ({op.type}) gives {kind}, and a model begins at numbers that '
            "depend on what is fed"
        )
    taken = [other for other in op.outputs[1:] if view.consumers(other)]
    if taken:
        raise ConfigError(
            f'inputs: "{op.name}" ({op.type}) has {len(op.outputs)} outputs, of which the model '
            "needs more than the first: name the ops that take them"
        )
    return node_def(op.name, "Placeholder", dtype=tensor.dtype, shape=tensor.shape)


def _can_be_fed(dtype: tf.DType) -> bool:
    return bool(dtype.is_floating or dtype.is_integer or dtype.is_bool)

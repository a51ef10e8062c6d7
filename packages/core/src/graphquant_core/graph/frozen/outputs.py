"""The outputs of a model, by name."""

from __future__ import annotations

import re
from collections.abc import Sequence

import tensorflow as tf

from graphquant_core.exceptions import ConfigError, OutputNotFoundError
from graphquant_core.listing import brief_repr
from graphquant_core.suggestions import closest

_OUTPUT_INDEX = re.compile(r":\d+$")


def check_outputs(graph_def: tf.compat.v1.GraphDef, outputs: Sequence[str]) -> tuple[str, ...]:
    """Names of the ops that `outputs` name (``"op"`` or ``"op:0"``), each once, in their order.

    Raises:
        ConfigError: `graph_def`, which callers call `model`, is no GraphDef.
        OutputNotFoundError: `outputs` is no list of names, is empty, or names no op of the graph,
            or another output of one than the first (``"op:1"``).
    """
    if not isinstance(graph_def, tf.compat.v1.GraphDef):
        raise ConfigError(
            f"model ({type(graph_def).__name__}) must be a GraphDef; that of a file is "
            "graphquant_export.inputs.load_model(path).graph_def"
        )
    if not isinstance(outputs, (list, tuple)) or not all(isinstance(n, str) for n in outputs):
        raise OutputNotFoundError(f"outputs ({brief_repr(outputs)}) must be a list of op names")
    if not outputs:
        raise OutputNotFoundError("outputs ([]) must name at least one op")
    known = {node.name for node in graph_def.node}
    names: dict[str, None] = {}
    for given in outputs:
        name = _OUTPUT_INDEX.sub("", given)
        if name not in known:
            raise OutputNotFoundError(
                f'outputs: the model has no op "{name}"{closest(name, sorted(known))}'
            )
        if given not in (name, f"{name}:0"):
            raise OutputNotFoundError(
                f'outputs: "{given}" is not the first output of its op: name a tf.identity of it'
            )
        names[name] = None
    return tuple(names)

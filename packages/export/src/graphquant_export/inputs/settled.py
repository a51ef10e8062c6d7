"""Conditions and dropout of which it is known before the model runs what comes of them."""

from __future__ import annotations

from graphquant_export.inputs.branches.decide import decide_conditions
from graphquant_export.inputs.dropout import without_dropout
from graphquant_export.inputs.finish import finish
from graphquant_export.inputs.inline import inline_layers
from graphquant_export.inputs.loaded_model import LoadedModel


def settled(model: LoadedModel) -> LoadedModel:
    """`model` with the branches that are taken, and without dropout that drops nothing.

    Args:
        model: The model; a placeholder that only decided conditions is no input of the result.

    Raises:
        ConfigError: An output is computed only in a branch that isn't taken.
    """
    graph_def = decide_conditions(model.graph_def, model.outputs)
    graph_def, outputs = inline_layers(graph_def, model.outputs)
    graph_def = without_dropout(graph_def, outputs)
    return model if graph_def is model.graph_def else finish(graph_def, outputs, model.inputs)

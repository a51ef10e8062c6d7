"""The folder of a SavedModel, written by TensorFlow 1 or 2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from graphquant_core.exceptions import ModelFileError, OutputNotFoundError
from graphquant_core.graph.frozen import check_outputs
from graphquant_core.listing import listed_names
from graphquant_core.suggestions import closest
from graphquant_export.inputs.brief import brief
from graphquant_export.inputs.eager import in_eager_mode
from graphquant_export.inputs.finish import finish
from graphquant_export.inputs.freeze_function import freeze_function
from graphquant_export.inputs.inline import inline_layers
from graphquant_export.inputs.kind import ModelPath
from graphquant_export.inputs.loaded_model import LoadedModel
from graphquant_export.inputs.name_outputs import name_outputs
from graphquant_export.inputs.quiet import quiet_tensorflow

_DEFAULT = "serving_default"


def load_saved_model(
    model: ModelPath, outputs: Sequence[str] | None, signature: str | None
) -> LoadedModel:
    """The function that a signature of the SavedModel names.

    Raises: as `graphquant_export.inputs.load_model`.
    """
    with in_eager_mode(model.argument), quiet_tensorflow():
        try:
            loaded = tf.saved_model.load(str(model.path))
        except Exception as error:  # what TensorFlow raises for a broken file varies
            raise ModelFileError(f"{model.argument} cannot be loaded: {brief(error)}") from error
        function = _function(loaded.signatures, signature, model.argument)
        frozen = freeze_function(function)
        keys = sorted(function.structured_outputs)
        graph_def, names = name_outputs(frozen.graph_def, frozen.outputs, keys)
        graph_def, names = inline_layers(graph_def, names)
    if outputs is not None:
        names = check_outputs(graph_def, outputs)
    return finish(graph_def, names, frozen.inputs)


def _function(functions: Mapping[str, Any], signature: str | None, argument: str) -> Any:
    there = listed_names(functions)
    if signature is None and len(functions) == 1:
        return next(iter(functions.values()))
    if signature is None and _DEFAULT not in functions:
        raise OutputNotFoundError(
            f'{argument} has no signature "{_DEFAULT}": say which one to take (there: {there})'
        )
    if signature is not None and signature not in functions:
        raise OutputNotFoundError(
            f'signature ("{signature}") is not in {argument}{closest(signature, functions)} '
            f"(there: {there})"
        )
    return functions[signature or _DEFAULT]

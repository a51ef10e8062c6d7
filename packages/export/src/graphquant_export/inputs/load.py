"""From a path to a frozen graph, whatever kind of model stands there."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import numpy.typing as npt

from graphquant_core.exceptions import ConfigError, MissingDependencyError, OutputNotFoundError
from graphquant_core.listing import brief_repr
from graphquant_export.inputs.kind import CHECKPOINT, KERAS, SAVED_MODEL, ModelPath, find_model
from graphquant_export.inputs.loaded_model import LoadedModel


def load_model(
    path: str | os.PathLike[str],
    outputs: Sequence[str] | None = None,
    signature: str | None = None,
    *,
    inputs: Sequence[str] | None = None,
    input_shapes: Mapping[str, Sequence[int | None]] | None = None,
    input_values: Mapping[str, npt.ArrayLike] | None = None,
) -> LoadedModel:
    """The model at `path` as one frozen graph, in inference mode.

    Args:
        path: A frozen GraphDef (``.pb``, ``.pbtxt``), the folder of a SavedModel of TensorFlow 1
            or 2, a Keras model (``.keras``, ``.h5``; one of Keras 2 needs the package tf_keras),
            or a checkpoint with its ``.meta`` file.
        outputs: Names of the ops to keep, with what they need. By default those of the signature;
            without one the ops that nothing takes and that depend on what is fed.
        signature: Which signature of a SavedModel; by default ``"serving_default"``, or the only
            one.
        inputs: Names of ops where the model begins, so that what stands before them, such as
            decoding and preprocessing, is cut off, and with it what is an output by default but
            has nothing to do with them. By default at its placeholders.
        input_shapes: Shape of an input by its name, with None for a size that stays open: some
            targets want static ones.
        input_values: Value that an input always has, by its name, such as False for a switch
            between training and inference: it is no input any more, and of what it decides the
            branch that is taken is left. The default of a placeholder decides by itself.

    Raises:
        ModelFileError: There is no such model, or it is broken, or it isn't frozen.
        OutputNotFoundError: `outputs` or `signature` names nothing in the model, or the outputs
            can't be told; names the closest, or the candidates.
        NonFiniteError: A weight holds NaN, or a variable infinity; names it.
        UnknownNameError: `inputs`, `input_shapes` or `input_values` names nothing in the model.
        ConfigError: `signature` is given for a model that has none, `inputs` holds an op that can't
            be fed, a shape contradicts the model, or `input_values` leave no input or no output.
        RangeError: A value doesn't have the type or the shape of its input.
        GraphStateError: Eager execution is switched off, which a SavedModel or a Keras model needs.
        MissingDependencyError: TensorFlow, or Keras 3 for one of its models, is not installed.
    """
    model = find_model(path)
    if isinstance(outputs, str) or (outputs is not None and not outputs):
        raise OutputNotFoundError(
            f"outputs ({brief_repr(outputs)}) must be a list of op names, or None"
        )
    if signature is not None and model.kind != SAVED_MODEL:
        raise ConfigError(
            f'signature ("{signature}") is for a SavedModel, and {model.argument} is a {model.kind}'
        )
    _import_tensorflow()
    loaded = _load(model, outputs, signature)
    if input_values is not None:
        from graphquant_export.inputs.input_values import with_input_values

        loaded = with_input_values(loaded, input_values)
    from graphquant_export.inputs.settled import settled

    loaded = settled(loaded)
    if inputs is not None:
        from graphquant_export.inputs.begin_at import begin_at

        loaded = begin_at(loaded, inputs, keep_outputs=outputs is not None)
    if input_shapes is not None:
        from graphquant_export.inputs.input_shapes import with_input_shapes

        loaded = with_input_shapes(loaded, input_shapes)
    from graphquant_export.inputs.inference_norm import warn_of_training_norms

    warn_of_training_norms(loaded.graph_def)
    return loaded


def _load(model: ModelPath, outputs: Sequence[str] | None, signature: str | None) -> LoadedModel:
    if model.kind == SAVED_MODEL:
        from graphquant_export.inputs.saved_model import load_saved_model

        return load_saved_model(model, outputs, signature)
    if model.kind == KERAS:
        from graphquant_export.inputs.keras_model import load_keras_model

        return load_keras_model(model, outputs)
    if model.kind == CHECKPOINT:
        from graphquant_export.inputs.checkpoint import load_checkpoint

        return load_checkpoint(model, outputs)
    from graphquant_export.inputs.graph_file import load_graph_file

    return load_graph_file(model, outputs)


def _import_tensorflow() -> None:
    try:
        import tensorflow as tf  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            'TensorFlow is not installed; install it with: pip install "tensorflow>=2.16,<2.22"'
        ) from error

"""A Keras model from a .keras or .h5 file."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from graphquant_core.exceptions import MissingDependencyError, ModelFileError
from graphquant_core.graph.frozen import check_outputs
from graphquant_export.inputs.brief import brief
from graphquant_export.inputs.eager import in_eager_mode
from graphquant_export.inputs.finish import finish
from graphquant_export.inputs.freeze_function import freeze_function
from graphquant_export.inputs.inline import inline_layers
from graphquant_export.inputs.keras_names import layer_names, named_as_in_model
from graphquant_export.inputs.kind import ModelPath
from graphquant_export.inputs.loaded_model import LoadedModel
from graphquant_export.inputs.name_outputs import name_outputs
from graphquant_export.inputs.quiet import quiet_tensorflow


def load_keras_model(model: ModelPath, outputs: Sequence[str] | None) -> LoadedModel:
    """The model called with ``training=False``.

    Raises: as `graphquant_export.inputs.load_model`.
    """
    keras = _keras(model.argument)
    with in_eager_mode(model.argument), quiet_tensorflow(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of arguments that the file's author gave to Keras 2
        loaded = _loaded(keras, model)
        frozen = freeze_function(_traced(loaded, model.argument))
        wanted = getattr(loaded, "output_names", None) or [loaded.layers[-1].name]
        graph_def, ends = frozen.graph_def, [*frozen.outputs]
        if isinstance(loaded, keras.layers.Layer):  # Keras 2 calls scopes as its layers
            graph_def, ends = named_as_in_model(graph_def, ends, layer_names(loaded))
        graph_def, names = name_outputs(graph_def, ends, wanted)
        graph_def, names = inline_layers(graph_def, names)
    if outputs is not None:
        names = check_outputs(graph_def, outputs)
    return finish(graph_def, names, frozen.inputs)


def _loaded(keras: Any, model: ModelPath) -> Any:
    """The Keras 3 model, or the Keras 2 model where the package tf_keras is installed."""
    try:
        return keras.models.load_model(model.path, compile=False)
    except Exception as error:  # a layer of the user's can raise anything
        if _holds_weights_alone(model.path):
            raise ModelFileError(
                f"{model.argument} holds weights without their model: build the model in Python, "
                'load them by its load_weights(), and save both by model.save("model.keras")'
            ) from error
        try:
            older = importlib.import_module("tf_keras")
            return older.models.load_model(model.path, compile=False)
        except ModuleNotFoundError:
            hint = "; a model of Keras 2 needs the package tf_keras as well"
        except Exception:  # noqa: BLE001 - what Keras 3 said of its file tells more
            hint = ""
        raise ModelFileError(f"{model.argument} cannot be loaded: {brief(error)}{hint}") from error


def _holds_weights_alone(path: Path) -> bool:
    """Whether it is a file that `save_weights` wrote."""
    h5py: Any = importlib.import_module("h5py")  # what Keras itself reads such files with
    if not h5py.is_hdf5(path):
        return False
    with h5py.File(path) as file:
        return "model_config" not in file.attrs


def _keras(argument: str) -> Any:
    try:
        keras = importlib.import_module("keras")
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"{argument} needs Keras 3, which is not installed: pip install keras"
        ) from error
    if keras.backend.backend() != "tensorflow":
        raise ModelFileError(
            f'{argument} is loaded with the backend "{keras.backend.backend()}" of Keras: set '
            "KERAS_BACKEND=tensorflow"
        )
    return keras


def _traced(loaded: Any, argument: str) -> Any:
    inputs = getattr(loaded, "inputs", None)
    if not inputs:
        raise ModelFileError(
            f"{argument} does not say what goes into it (a subclassed model): call "
            "model.export(folder) after a first prediction, and give that folder"
        )
    structure = getattr(loaded, "input", None)  # a Sequential has none before it is called
    if structure is None:
        structure = inputs[0] if len(inputs) == 1 else list(inputs)
    specs = [tf.TensorSpec(tensor.shape, tensor.dtype, tensor.name) for tensor in inputs]

    def call(*tensors: tf.Tensor) -> Any:
        structured = tf.nest.pack_sequence_as(structure, list(tensors))
        return tf.nest.flatten(loaded(structured, training=False))

    return tf.function(call, autograph=False).get_concrete_function(*specs)

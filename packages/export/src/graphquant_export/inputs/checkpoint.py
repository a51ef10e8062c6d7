"""A checkpoint of TensorFlow 1 with its meta graph."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from graphquant_core.exceptions import ModelFileError
from graphquant_core.graph.frozen import check_outputs, cpu_session
from graphquant_core.graph.view import VARIABLE_TYPES
from graphquant_export.inputs.brief import brief
from graphquant_export.inputs.finish import finish
from graphquant_export.inputs.freeze_function import check_finite_variable
from graphquant_export.inputs.inference_norm import use_moving_averages
from graphquant_export.inputs.inline import inline_layers
from graphquant_export.inputs.kind import ModelPath
from graphquant_export.inputs.loaded_model import LoadedModel
from graphquant_export.inputs.quiet import quiet_tensorflow
from graphquant_export.inputs.unused_ops import prediction

v1 = tf.compat.v1


def load_checkpoint(model: ModelPath, outputs: Sequence[str] | None) -> LoadedModel:
    """What `outputs` need of the meta graph, with the values of the checkpoint.

    Raises: as `graphquant_export.inputs.load_model`.
    """
    with quiet_tensorflow(), tf.Graph().as_default() as graph:
        try:
            saver = v1.train.import_meta_graph(f"{model.path}.meta", clear_devices=True)
        except Exception as error:  # what TensorFlow raises for a broken file varies
            raise ModelFileError(f"{model.argument} cannot be imported: {brief(error)}") from error
        names = prediction(graph, model.argument) if outputs is None else outputs
        names = check_outputs(graph.as_graph_def(), names)
        with cpu_session(graph) as session:
            try:
                if saver is not None:
                    saver.restore(session, str(model.path))
            except Exception as error:
                raise ModelFileError(
                    f"{model.argument} cannot be restored: {brief(error)}"
                ) from error
            frozen = _frozen(session, names, model.argument)
        graph_def, names = inline_layers(frozen, names)
    return finish(graph_def, names)


def _frozen(
    session: tf.compat.v1.Session, names: Sequence[str], argument: str
) -> tf.compat.v1.GraphDef:
    # Only what is needed: the freezer reads every variable, and an optimizer's may have no value.
    needed = use_moving_averages(session.graph, names)
    variables = [node.name for node in needed.node if node.op in VARIABLE_TYPES]
    try:
        frozen = v1.graph_util.convert_variables_to_constants(session, needed, list(names))
    except (ValueError, KeyError, tf.errors.OpError) as error:
        raise ModelFileError(f"{argument} cannot be frozen: {brief(error)}") from error
    for node in frozen.node:
        if node.op == "Const" and node.name in variables:
            check_finite_variable(node.name, tf.make_ndarray(node.attr["value"].tensor))
    return frozen

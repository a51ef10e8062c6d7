"""Export to Ascend: a frozen graph and its record become one graph of integers."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence

import tensorflow as tf

from graphquant_core.exporter import ExportSource
from graphquant_core.files import read_bytes, write_together
from graphquant_core.graph.frozen import check_outputs
from graphquant_core.weight_record import Factors
from graphquant_export.quantized.model import QuantizedModel, quantized_model
from graphquant_export.targets.ascend.artifact import (
    AscendArtifact,
    artifact_files,
    artifact_paths,
)
from graphquant_export.targets.ascend.deploy import deploy, log_advice
from graphquant_export.targets.save_path import ENDINGS, paths_of

logger = logging.getLogger(__name__)


def export_ascend(
    model: tf.compat.v1.GraphDef,
    outputs: Sequence[str],
    record: Factors,
    save_path: str | os.PathLike[str],
) -> AscendArtifact:
    """Writes ``<save_path>_quantized.pb`` and ``<save_path>_deploy.pb``.

    Args:
        model: Frozen graph: the one that was trained, with its fake quantisers, or a float one.
        outputs: Names of the ops that are the model's outputs.
        record: Scales and offsets of the layers.
        save_path: Start of the names of the files.

    Raises:
        OutputNotFoundError: An output is not in the model.
        RecordError: The record doesn't belong to the model, or is none.
        EmptyRecordError: The record holds no layer.
        BiasOverflowError: A bias doesn't fit into int32.
        ModelFileError: The model is not frozen, or was exported before.
        FileWriteError: The files can't be written. After any error an older pair is as it was.
    """
    paths = artifact_paths(save_path)
    source = ExportSource(model, check_outputs(model, outputs), record)
    quantized = source.derived(_quantized_model)
    graph_def, layers = deploy(quantized)
    log_advice(layers)
    quantized.warn_of_floats(logger, "Ascend")
    write_together(artifact_files(graph_def, paths))
    for path in paths:
        logger.info("The model is saved in %s", path)
    return AscendArtifact(*paths, layers, source)


def open_ascend(save_path: str | os.PathLike[str], source: ExportSource) -> AscendArtifact:
    """The artifact that `export_ascend` wrote to `save_path` of `source`.

    Raises:
        ModelFileError: A file is missing, or can't be read; names it.
        OutputNotFoundError, RecordError, BiasOverflowError: as `export_ascend`.
    """
    quantized_path, deploy_path = paths_of(save_path, *ENDINGS["ascend"])
    for path in (quantized_path, deploy_path):
        read_bytes(path, "artifact")
    _, layers = deploy(source.derived(_quantized_model))
    return AscendArtifact(quantized_path, deploy_path, layers, source)


def _quantized_model(source: ExportSource) -> QuantizedModel:
    return quantized_model(source.model, source.outputs, source.record)

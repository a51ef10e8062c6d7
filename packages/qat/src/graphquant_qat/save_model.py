"""The last call: from the frozen graph and the record to the quantised model."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence

from graphquant_core.graph.frozen import check_outputs, load_graph_def
from graphquant_core.record import read_record
from graphquant_export.targets.ascend import artifact_paths, export_ascend

logger = logging.getLogger(__name__)


def save_quant_retrain_model(
    pb_model: str | os.PathLike[str],
    outputs: Sequence[str],
    record_file: str | os.PathLike[str],
    save_path: str | os.PathLike[str],
) -> None:
    """Write ``<save_path>_quantized.pb`` and ``<save_path>_deploy.pb``.

    The first runs in any TensorFlow and is what Ascend's compiler takes; the second is the same
    graph without the function library that makes it run in TensorFlow.

    Args:
        pb_model: The frozen inference graph, with the fake quantisation in it.
        outputs: List or tuple of the names of the output ops; ``"prob:0"`` names the op
            ``"prob"``.
        record_file: The record that running ``retrain_ops[-1]`` wrote.
        save_path: Folder and prefix of the files to write; a missing folder is made.

    Raises:
        ModelFileError: `pb_model` or `record_file` can't be read, or `pb_model` isn't a frozen
            graph.
        OutputNotFoundError: `outputs` isn't a list of names, or the model has no op of one of them.
        EmptyRecordError, RecordError: The record is empty, broken, or of another model.
        BiasOverflowError: A bias doesn't fit int32.
        FileWriteError: `save_path` can't be written. After any error the older files are as they
            were.
    """
    artifact_paths(save_path)
    model = load_graph_def(pb_model)
    check_outputs(model, outputs)
    artifact = export_ascend(model, outputs, read_record(record_file), save_path)
    logger.info('the model is saved in "%s"', artifact.quantized_path)

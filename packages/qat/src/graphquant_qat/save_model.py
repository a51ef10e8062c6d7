"""The last call: from the frozen graph and the record to the quantised model."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from graphquant_core.files import check_writable
from graphquant_export.ascend import export_ascend
from graphquant_export.frozen import load_graph_def
from graphquant_export.record import read_record

logger = logging.getLogger(__name__)


def save_quant_retrain_model(
    pb_model: str, outputs: Sequence[str], record_file: str, save_path: str
) -> None:
    """Write ``<save_path>_quantized.pb`` and ``<save_path>_deploy.pb``.

    The first runs in any TensorFlow and is what Ascend's compiler takes; the second is the same
    graph without the function library that makes it run in TensorFlow.

    Args:
        pb_model: The frozen inference graph, with the fake quantisation in it.
        outputs: Names of the output ops, without ``:0``.
        record_file: The record that running ``retrain_ops[-1]`` wrote.
        save_path: Folder and prefix of the files to write.

    Raises:
        ModelFileError: `pb_model` can't be read.
        OutputNotFoundError: The model has no op of one of the names in `outputs`.
        EmptyRecordError, RecordError: The record is empty, broken, or of another model.
        BiasOverflowError: A bias doesn't fit int32.
        FileWriteError: `save_path` can't be written. Nothing is left half-written.
    """
    check_writable(f"{save_path}_quantized.pb" if save_path else save_path, "save_path")
    artifact = export_ascend(
        load_graph_def(pb_model), list(outputs), read_record(record_file), save_path
    )
    logger.info('the model is saved in "%s"', artifact.quantized_path)

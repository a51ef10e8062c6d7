"""A model that was trained with TensorFlow's own fake quantisers, made ready for Ascend."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence

from graphquant_core.files import check_writable, write_together
from graphquant_core.graph.frozen import check_outputs, load_graph_def
from graphquant_core.record import format_record
from graphquant_export.targets.ascend import artifact_files, artifact_paths, quantize_graph
from graphquant_qat.fake_quant.derive import derive_record

logger = logging.getLogger(__name__)


def convert_qat_model(
    pb_model: str | os.PathLike[str],
    outputs: Sequence[str],
    save_path: str | os.PathLike[str],
    record_file: str | os.PathLike[str] | None = None,
) -> list[str]:
    """Write ``<save_path>_quantized.pb`` and ``<save_path>_deploy.pb``; names of the output ops.

    The model holds FakeQuantWithMinMaxVars, FakeQuantWithMinMaxVarsPerChannel or
    FakeQuantWithMinMaxArgs nodes. A layer whose activation and weight both come out of one becomes
    a layer of integers with the scales of these nodes; every other layer stays float, and is
    logged with the reason. A weight whose range is not symmetric is quantised again, per channel,
    and a warning says how far it moved.

    Args:
        pb_model: The frozen inference graph.
        outputs: Names of the output ops (``"name"`` or ``"name:0"``).
        save_path: Folder and prefix of the files to write.
        record_file: Where to write the scales and offsets, or ``None``.

    Returns:
        The names of `outputs`, each once and without ``:0``; the written model has them too.

    Raises:
        ModelFileError: `pb_model` can't be read, isn't frozen, or comes from
            `create_quant_retrain_model`.
        OutputNotFoundError: The model has no op of one of the names in `outputs`.
        NoLayersError: No layer has fake-quantised inputs.
        BitsError: A fake quantiser of a layer doesn't have 8 bits (of a weight: 2 to 8).
        RangeError, NonFiniteError, UncalibratedError: Its range is impossible or empty.
        BiasOverflowError: A bias doesn't fit int32.
        FileWriteError: A file can't be written. After any error the older files are as they were.
    """
    paths = artifact_paths(save_path)
    if record_file is not None:
        check_writable(record_file, "record_file")
    model = load_graph_def(pb_model)
    names = check_outputs(model, outputs)
    bare, record = derive_record(model, names)
    quantized, layers = quantize_graph(bare, names, record)
    files: list[tuple[str | os.PathLike[str], bytes | str]] = [*artifact_files(quantized, paths)]
    if record_file is not None:
        files.append((record_file, format_record(record)))
    write_together(files)
    logger.info("%d layers are quantised; the model is saved in %s", len(layers), paths[0])
    return list(names)

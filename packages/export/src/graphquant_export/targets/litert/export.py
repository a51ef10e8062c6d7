"""Export to LiteRT: a frozen graph and its record become one .tflite file."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence

import numpy.typing as npt
import tensorflow as tf

from graphquant_core.exporter import ExportSource
from graphquant_core.files import write_together
from graphquant_core.graph.frozen import check_outputs
from graphquant_core.record import Record
from graphquant_core.weight_record import Factors
from graphquant_export.quantized.simulate import simulate, source_of
from graphquant_export.quantized.weight_layers import checked_weights
from graphquant_export.targets.litert.artifact import LiteRtArtifact
from graphquant_export.targets.litert.integer_model import integer_model
from graphquant_export.targets.litert.schema import model_bytes
from graphquant_export.targets.litert.target import simulate_litert
from graphquant_export.targets.litert.weight_only import weight_only_model
from graphquant_export.targets.rules import LITERT
from graphquant_export.targets.save_path import ENDINGS, writable_paths

logger = logging.getLogger(__name__)


def export_litert(
    model: tf.compat.v1.GraphDef,
    outputs: Sequence[str],
    record: Factors,
    save_path: str | os.PathLike[str],
    *,
    calibration: Mapping[str, npt.ArrayLike] | None = None,
    integer_io: bool = False,
) -> LiteRtArtifact:
    """Writes ``<save_path>.tflite``, whose layers compute in int8 with the record's numbers.

    A placeholder with a default is no input of the file: it holds the default.

    Args:
        model: Frozen graph: the one that was trained, with its fake quantisers, or a float one.
            With a WeightRecord, one whose weights lie on their grids.
        outputs: Names of the ops that are the model's outputs.
        record: Scales and offsets of the layers; or, when only weights are quantised, what
            `WeightQuantizer.weight_record` returns: those layers compute in float, with weights
            that are stored as int8, or as int4 with 4 bits or less.
        save_path: Start of the name of the file.
        calibration: Samples for each placeholder, by its name. An int8 layer needs the grid of
            what it returns. Where one fake quantiser takes all of that, it is its grid; elsewhere
            it is in the record of a training for LiteRT. What the record lacks is observed on
            these samples. Without them such layers compute in float, and the file computes what
            was simulated.
        integer_io: Whether the inputs and outputs are int8 where the model computes them so;
            float by default.

    Raises:
        As `graphquant_export.targets.ascend.export_ascend` and, for `calibration`, as
            `observe_ranges`.
        ModelFileError: TensorFlow's converter can't convert the model.
        UnsupportedLayerError: A layer of a WeightRecord is not in the model.
        RangeError: A weight of such a layer is not on its grid.
    """
    (path,) = writable_paths(save_path, *ENDINGS["litert"])
    if isinstance(record, Record):
        simulated = simulate(model, outputs, record)
        target = simulate_litert(simulated, record, calibration, integer_io=integer_io)
        source, rules = source_of(simulated, model, target.record), target.rules
        tables = integer_model(simulated, target, integer_io)
    else:
        weights = checked_weights(record)
        source, rules = ExportSource(model, check_outputs(model, outputs), weights), LITERT
        tables = weight_only_model(model, source.outputs, weights)
    write_together([(path, model_bytes(tables))])
    logger.info("The model is saved in %s", path)
    return LiteRtArtifact(path, source, rules)

"""Export to MNN of a model that was trained for quantisation: everything in int8."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.files import write_together
from graphquant_core.graph import GraphView
from graphquant_core.graph.frozen import import_frozen
from graphquant_core.record import Record, format_record
from graphquant_export.quantized.simulate import simulate, source_of
from graphquant_export.targets.mnn.command import ConverterCommand
from graphquant_export.targets.mnn.compress_params import identity_of, save_compress_params
from graphquant_export.targets.mnn.converter import convert
from graphquant_export.targets.mnn.int8.artifact import MnnInt8Artifact
from graphquant_export.targets.mnn.int8.compare_layers import compare_layers
from graphquant_export.targets.mnn.int8.frozen_graph import freeze_for_mnn
from graphquant_export.targets.mnn.int8.int8_params import int8_params
from graphquant_export.targets.mnn.int8.merged_norms import with_merged_factors
from graphquant_export.targets.mnn.int8.mnn_layers import LayerPart, find_parts, weights_of_floats
from graphquant_export.targets.mnn.int8.planned_layers import float_layers, plan_layers
from graphquant_export.targets.mnn.int8.target import mnn_target
from graphquant_export.targets.mnn.model_file import MnnLayer, read_mnn_model
from graphquant_export.targets.mnn.outputs import check_outputs_kept
from graphquant_export.targets.mnn.stored_weights import put_weights
from graphquant_export.targets.save_path import ENDINGS, writable_paths

logger = logging.getLogger(__name__)


def export_mnn_int8(
    model: tf.compat.v1.GraphDef,
    outputs: Sequence[str],
    record: Record,
    save_path: str | os.PathLike[str],
    calibration: Mapping[str, npt.ArrayLike] | None = None,
) -> MnnInt8Artifact:
    """Writes ``<save_path>.mnn``, ``<save_path>.pb`` and ``<save_path>.json``.

    MNN's own converter makes the model, and layers that compute with floats get the record's codes
    and scales in place of those that it derived. What is stored is then decoded and compared with
    the record, layer by layer: execution, codes, scales and activation parameters. Nothing is
    written when a layer differs. The same arguments give the same bytes.

    MNN 3.6.1 may crash when it resizes a session a second time, where two float ops take the result
    of one int8 layer: give such a model its shape once, with the session mode Resize_Defer.

    Args:
        model: Frozen graph, with the fake quantisers that it was trained with, or float.
        outputs: Names of the ops that are the model's outputs.
        record: Scales and offsets of the layers.
        save_path: Start of the names of the files.
        calibration: Samples for each placeholder, for the range of a result of which the record has
            no grid. Without them such a layer computes with floats, and where it has no grid at all
            depthwise layers do so, too: it was made for a target that doesn't round zero points.

    Raises:
        OutputNotFoundError: An output is not in the model.
        RecordError: The record doesn't belong to the model.
        BiasOverflowError: A bias doesn't fit into int32.
        UnsupportedLayerError: A layer stayed float in MNN although it was given parameters, or
            MNN's converter would make a wrong model of one, or merges an output with another op.
        RangeError: What MNN stored of a layer is not what the record says; names the layer.
        ConfigError: `calibration` names no placeholder, or lacks one.
        MissingDependencyError: The wheel ``MNN`` is not installed.
        ModelFileError: The converter failed.
        FileWriteError: The files can't be written. After any error older files are as they were.
    """
    finals = writable_paths(save_path, *ENDINGS["mnn"])
    simulated = simulate(model, outputs, record)
    mnn = mnn_target(simulated, record, calibration)
    frozen = freeze_for_mnn(
        mnn.simulated.graph_def, simulated.outputs, plan_layers(mnn.described, mnn.target.results)
    )
    content = frozen.graph_def.SerializeToString(deterministic=True)
    view = GraphView(import_frozen(frozen.graph_def))
    with tempfile.TemporaryDirectory() as folder:
        mnn_file, pb, params = written = [Path(folder) / path.name for path in finals]
        pb.write_bytes(content)
        # A model that has an identity keeps it, and without one the converter draws it at random.
        identity = identity_of(content, format_record(mnn.target.record).encode())
        save_compress_params(params, (), mnn_uuid=identity)
        convert(ConverterCommand(pb, mnn_file, params))
        converted = read_mnn_model(mnn_file)
        check_outputs_kept(view.graph, simulated.outputs, converted)
        parts = find_parts(view, frozen.layers, converted.layers)
        params.write_text(int8_params(parts, identity))
        convert(ConverterCommand(mnn_file, mnn_file, params))
        parts = with_merged_factors(view, parts, read_mnn_model(mnn_file).layers)
        put_weights(mnn_file, weights_of_floats(parts))
        parts = _as_stored(parts, read_mnn_model(mnn_file).layers)
        compared = compare_layers(parts)
        write_together([(path, written[i].read_bytes()) for i, path in enumerate(finals)])
    simulated.model.warn_of_floats(logger, "MNN", float_layers(frozen.layers))
    logger.info("The model is saved in %s", finals[0])
    model_path, frozen_path, params_path = finals
    artifact = MnnInt8Artifact(
        model_path,
        frozen_path,
        params_path,
        planned=frozen.layers,
        layers=compared,
        source=source_of(simulated, model, mnn.target.record),
    )
    for layer in compared:
        if layer.off_by:
            logger.warning('layer "%s": %s', layer.name, artifact.reason(layer.name))
    return artifact


def _as_stored(parts: Sequence[LayerPart], stored: Mapping[str, MnnLayer]) -> tuple[LayerPart, ...]:
    """`parts` with what the int8 model holds of them."""
    return tuple(attrs.evolve(part, stored=stored[part.stored.name]) for part in parts)

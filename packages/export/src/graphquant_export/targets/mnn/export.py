"""Export to MNN: a frozen graph with its weights on their grids becomes one .mnn file."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar

import attrs
import tensorflow as tf

from graphquant_core.exceptions import RangeError
from graphquant_core.exporter import ExportSource
from graphquant_core.files import read_bytes, write_together
from graphquant_core.graph import GraphView
from graphquant_core.graph.frozen import GraphDefEditor, check_outputs, import_frozen
from graphquant_core.plan import Plan
from graphquant_core.weight_record import WeightRecord
from graphquant_export.quantized.float_weights import warn_of_float_weights
from graphquant_export.quantized.weight_layers import checked_weights
from graphquant_export.targets.mnn.command import ConverterCommand
from graphquant_export.targets.mnn.compress_params import identity_of, save_compress_params
from graphquant_export.targets.mnn.converter import convert
from graphquant_export.targets.mnn.known_ops import with_known_ops
from graphquant_export.targets.mnn.layers import check_convertible, plan_for_mnn
from graphquant_export.targets.mnn.loop_layers import layers_in_loops
from graphquant_export.targets.mnn.model_file import read_mnn_model
from graphquant_export.targets.mnn.outputs import check_outputs_kept
from graphquant_export.targets.mnn.verify import LayerComparison, compare_weights
from graphquant_export.targets.mnn.weight_params import layer_params
from graphquant_export.targets.save_path import ENDINGS, paths_of, writable_paths

logger = logging.getLogger(__name__)


@attrs.frozen
class MnnArtifact:
    """What an export to MNN wrote.

    Attributes:
        model_path: The model for MNN.
        frozen_path: The frozen graph that it was converted from.
        params_path: The compression parameters that the converter was given.
        layers: Every quantised layer, the stored weight beside the frozen one.
        command: The command line that converts the frozen graph again.
        source: What it was made of.
    """

    target: ClassVar[str] = "mnn"
    model_path: Path
    frozen_path: Path
    params_path: Path
    layers: tuple[LayerComparison, ...]
    command: ConverterCommand
    source: ExportSource

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files, the model first."""
        return (self.model_path, self.frozen_path, self.params_path)


def export_mnn(
    model: tf.compat.v1.GraphDef,
    outputs: Sequence[str],
    record: WeightRecord,
    save_path: str | os.PathLike[str],
) -> MnnArtifact:
    """Writes ``<save_path>.mnn``, ``<save_path>.pb`` and ``<save_path>.json``.

    MNN's own converter makes the model. What it stored is then decoded and compared with the
    frozen weights; nothing is written when a layer differs. The same arguments give the same
    bytes.

    Args:
        model: Frozen graph, with its weights on the grids that `record` says.
        outputs: Names of the ops that are the model's outputs.
        record: How each layer is quantised, as `WeightQuantizer.weight_record` returns it.
        save_path: Start of the names of the files.

    Raises:
        OutputNotFoundError: An output is not in the model.
        RecordError: `record` is something else, or holds nothing.
        UnsupportedLayerError: A layer of `record` stayed float in MNN, or is not in the model, or
            MNN merges an output with another op, or its converter takes a layer for another.
        RangeError: A stored weight is another than the frozen one; names the layer.
        MissingDependencyError: The wheel ``MNN`` is not installed.
        ModelFileError: The converter failed.
        FileWriteError: The files can't be written. After any error older files are as they were.
    """
    checked_weights(record)
    names = check_outputs(model, outputs)
    finals = writable_paths(save_path, *ENDINGS["mnn"])
    frozen = with_known_ops(GraphDefEditor(model).graph_def(names), names)
    graph = import_frozen(frozen)
    # A layer that stays float would be converted just as wrongly as one that doesn't.
    check_convertible(graph)
    layers = layer_params(GraphView(graph), record)
    with tempfile.TemporaryDirectory() as folder:
        written = [Path(folder) / path.name for path in finals]
        content = frozen.SerializeToString(deterministic=True)
        written[1].write_bytes(content)
        identity = identity_of(content, repr(layers).encode())
        save_compress_params(written[2], layers, mnn_uuid=identity)
        convert(ConverterCommand(written[1], written[0], written[2]))
        check_outputs_kept(graph, names, read_mnn_model(written[0]))
        compared = compare_weights(frozen, written[0], layers)
        _check_stored(compared)
        write_together(
            [(final, path.read_bytes()) for final, path in zip(finals, written, strict=True)]
        )
    plan = Plan((*plan_for_mnn(graph).rows, *layers_in_loops(model, names)))
    warn_of_float_weights(logger, plan, record, "MNN")
    logger.info("The model is saved in %s", finals[0])
    mnn, pb, json = finals
    source = ExportSource(model, tuple(names), record)
    return MnnArtifact(mnn, pb, json, compared, ConverterCommand(pb, mnn, json), source)


def open_mnn(save_path: str | os.PathLike[str], source: ExportSource) -> MnnArtifact:
    """The artifact that `export_mnn` wrote for `save_path`.

    Args:
        save_path: What the export was given.
        source: What it was made of.

    Raises:
        ModelFileError: A file is missing or broken.
        UnsupportedLayerError: A layer of the source's parameters isn't in the model.
        RangeError: A stored weight is another than the frozen one; names the layer.
    """
    mnn, pb, json = paths_of(save_path, *ENDINGS["mnn"])
    for path in (mnn, pb, json):
        read_bytes(path, "save_path")
    frozen = with_known_ops(GraphDefEditor(source.model).graph_def(source.outputs), source.outputs)
    view = GraphView(import_frozen(frozen))
    layers = layer_params(view, checked_weights(source.record))
    compared = compare_weights(frozen, mnn, layers)
    _check_stored(compared)
    return MnnArtifact(mnn, pb, json, compared, ConverterCommand(pb, mnn, json), source)


def _check_stored(compared: Iterable[LayerComparison]) -> None:
    for layer in compared:
        if layer.mismatches:
            raise RangeError(
                f'layer "{layer.name}": {layer.mismatches} of {layer.weights} weights are not on '
                f"the grid of {layer.bits} bits that MNN derives from them; strip_wq_ops() before "
                "freezing puts them there"
            )

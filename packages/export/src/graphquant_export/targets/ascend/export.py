"""Export to Ascend: a frozen graph and its record become one graph of integers."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence

import attrs
import tensorflow as tf

from graphquant_core.exceptions import EmptyRecordError, RecordError
from graphquant_core.exporter import ExportSource
from graphquant_core.files import read_bytes, write_together
from graphquant_core.graph.frozen import (
    GraphDefEditor,
    check_outputs,
    evaluate_constants,
    import_frozen,
    strip_later_attributes,
    without_value_quantizers,
)
from graphquant_core.record import Record
from graphquant_export.targets.ascend.artifact import (
    AscendArtifact,
    artifact_files,
    artifact_paths,
)
from graphquant_export.targets.ascend.deploy import DeployedLayer, deploy
from graphquant_export.targets.ascend.functions import ascend_functions
from graphquant_export.targets.ascend.layer_integers import (
    LayerIntegers,
    layer_integers,
    needed_tensors,
)
from graphquant_export.targets.ascend.sites import Site, find_sites
from graphquant_export.targets.save_path import ENDINGS, paths_of

logger = logging.getLogger(__name__)


def export_ascend(
    model: tf.compat.v1.GraphDef,
    outputs: Sequence[str],
    record: Record,
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
    quantized = deploy_graph(model, outputs, record)
    _log_advice(quantized)
    write_together(artifact_files(quantized.graph_def, paths))
    for path in paths:
        logger.info("The model is saved in %s", path)
    return AscendArtifact(*paths, quantized.layers, ExportSource(model, quantized.outputs, record))


def open_ascend(save_path: str | os.PathLike[str], source: ExportSource) -> AscendArtifact:
    """The artifact that `export_ascend` wrote to `save_path` of `source`.

    Raises:
        ModelFileError: A file is missing, or can't be read; names it.
        OutputNotFoundError, RecordError, BiasOverflowError: as `export_ascend`.
    """
    quantized_path, deploy_path = paths_of(save_path, *ENDINGS["ascend"])
    for path in (quantized_path, deploy_path):
        read_bytes(path, "artifact")
    deployed = deploy_graph(source.model, source.outputs, source.record)
    return AscendArtifact(quantized_path, deploy_path, deployed.layers, source)


@attrs.frozen(eq=False)
class DeployedGraph:
    """A graph of integers.

    Attributes:
        graph_def: The graph, with its function library.
        outputs: Names of the ops that are its outputs.
        layers: The deployed layers, in the order of the graph.
        sites: Where each of them stood in the frozen graph.
        integers: What each of them computes with.
    """

    graph_def: tf.compat.v1.GraphDef
    outputs: tuple[str, ...]
    layers: tuple[DeployedLayer, ...]
    sites: tuple[Site, ...]
    integers: tuple[LayerIntegers, ...]


def deploy_graph(
    model: tf.compat.v1.GraphDef, outputs: Sequence[str], record: Record
) -> DeployedGraph:
    """The graph of integers that `model` becomes, for every target; nothing is written.

    Channels whose codes are all zero are logged.

    Raises: as `export_ascend`.
    """
    _check_record(record)
    names = check_outputs(model, outputs)
    pruned = GraphDefEditor(without_value_quantizers(model)).graph_def(names)
    graph = import_frozen(pruned)
    sites = find_sites(graph, names, record)
    tensors = {t.name: t for site in sites for t in needed_tensors(site)}
    values = dict(zip(tensors, evaluate_constants(graph, list(tensors.values())), strict=True))
    strip_later_attributes(pruned, graph)
    editor = GraphDefEditor(pruned)
    integers = [layer_integers(site, values) for site in sites]
    for site, numbers in zip(sites, integers, strict=True):
        for sentence in numbers.weak:
            logger.warning('layer "%s": %s', site.layer.name, sentence)
    layers = deploy(editor, names, list(zip(sites, integers, strict=True)))
    quantized = editor.graph_def(names)
    quantized.library.function.extend(ascend_functions())
    return DeployedGraph(quantized, tuple(names), layers, tuple(sites), tuple(integers))


def _check_record(record: object) -> None:
    if not isinstance(record, Record):
        raise RecordError(
            f"record ({type(record).__name__}) must be a Record, as read_record() returns it: the "
            "target ascend has int8 models only, none with quantised weights alone"
        )
    if not record:
        raise EmptyRecordError("record () holds no layer: nothing would be quantised")


def quantize_graph(
    model: tf.compat.v1.GraphDef, outputs: Sequence[str], record: Record
) -> tuple[tf.compat.v1.GraphDef, tuple[DeployedLayer, ...]]:
    """The quantised graph with its function library, and its layers; nothing is written.

    Raises: as `export_ascend`.
    """
    deployed = deploy_graph(model, outputs, record)
    _log_advice(deployed)
    return deployed.graph_def, deployed.layers


def _log_advice(deployed: DeployedGraph) -> None:
    for layer in deployed.layers:
        for sentence in layer.advice:
            logger.warning('layer "%s": %s', layer.name, sentence)

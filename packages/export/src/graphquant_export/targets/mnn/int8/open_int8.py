"""Finds an int8 export to MNN on the disk again."""

from __future__ import annotations

import os
from collections.abc import Mapping

import attrs

from graphquant_core.exceptions import ModelFileError
from graphquant_core.exporter import ExportSource
from graphquant_core.files import read_bytes
from graphquant_core.graph import GraphView
from graphquant_core.graph.frozen import import_frozen, load_graph_def
from graphquant_export.quantized.simulate import simulation_of, source_of
from graphquant_export.targets.mnn.int8.activation_grid import ActivationGrid
from graphquant_export.targets.mnn.int8.artifact import MnnInt8Artifact
from graphquant_export.targets.mnn.int8.compare_layers import compare_layers
from graphquant_export.targets.mnn.int8.mnn_layers import find_parts
from graphquant_export.targets.mnn.int8.planned_layers import (
    INT8,
    UNCALIBRATED,
    PlannedLayer,
    in_floats,
)
from graphquant_export.targets.mnn.int8.target import mnn_target
from graphquant_export.targets.mnn.model_file import MnnLayer, TensorGrid, read_mnn_model
from graphquant_export.targets.mnn.op_names import mnn_op_names
from graphquant_export.targets.save_path import ENDINGS, paths_of


def open_mnn_int8(save_path: str | os.PathLike[str], source: ExportSource) -> MnnInt8Artifact:
    """The artifact that `export_mnn_int8` wrote for `save_path`, with the grids of its file.

    Args:
        save_path: What the export was given.
        source: What it was made of.

    Raises:
        ModelFileError: A file is missing or broken; names it.
        UnsupportedLayerError: The model lacks a layer of the record.
        RangeError: It holds another number than the record.
    """
    paths = paths_of(save_path, *ENDINGS["mnn"])
    model_path, frozen_path, params_path = paths
    for path in paths:
        read_bytes(path, "save_path")
    graph_def = load_graph_def(frozen_path, "save_path")
    view = GraphView(import_frozen(graph_def))
    simulated = simulation_of(source)
    mnn = mnn_target(simulated, source.record)
    missing = [
        layer.node
        for layer in mnn.simulated.layers
        if layer.node not in {op.name for op in view.operations}
    ]
    if missing:
        raise ModelFileError(
            f'save_path ("{frozen_path}") holds another model: it has no layer "{missing[0]}"'
        )
    stored = read_mnn_model(model_path).layers
    planned = tuple(_as_stored(view, layer, stored) for layer in mnn.described)
    parts = find_parts(view, planned, stored)
    return MnnInt8Artifact(
        model_path,
        frozen_path,
        params_path,
        planned=planned,
        layers=compare_layers(parts),
        source=source_of(simulated, source.model, mnn.target.record),
    )


def _as_stored(
    view: GraphView, planned: PlannedLayer, stored: Mapping[str, MnnLayer]
) -> PlannedLayer:
    """`planned` with the grids that the file has."""
    if planned.execution != INT8 or planned.layer is None:
        return planned
    found = [stored.get(name) for name in mnn_op_names(view, planned.layer)]
    first = found[0]
    if first is None or not first.int8:
        return in_floats(planned, UNCALIBRATED)
    return attrs.evolve(planned, input=_grid(first.input), output=_grid(first.output))


def _grid(stored: TensorGrid | None) -> ActivationGrid | None:
    return None if stored is None else ActivationGrid(stored.scale, int(stored.zero))

"""What the target "mnn" does, for `graphquant_export.targets.target`."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy.typing as npt
import tensorflow as tf

from graphquant_core.exporter import ExportSource
from graphquant_core.record import Record
from graphquant_core.weight_record import Factors
from graphquant_export.layout import is_nchw
from graphquant_export.targets.mnn.export import MnnArtifact, export_mnn, open_mnn
from graphquant_export.targets.mnn.int8.artifact import MnnInt8Artifact
from graphquant_export.targets.mnn.int8.export_int8 import export_mnn_int8
from graphquant_export.targets.mnn.int8.open_int8 import open_mnn_int8
from graphquant_export.targets.mnn.layer_results import RuntimeLayer
from graphquant_export.targets.mnn.loop_layers import layers_in_loops
from graphquant_export.targets.mnn.mnn_runtime import MnnRuntime


def export(
    model: tf.compat.v1.GraphDef,
    outputs: Sequence[str],
    record: Factors,
    save_path: str | os.PathLike[str],
    *,
    calibration: Mapping[str, npt.ArrayLike] | None = None,
) -> MnnArtifact | MnnInt8Artifact:
    """As `export_mnn_int8`, or as `export_mnn` where `record` holds grids of weights alone."""
    if isinstance(record, Record):
        return export_mnn_int8(model, outputs, record, save_path, calibration)
    return export_mnn(model, outputs, record, save_path)


def open(  # noqa: A001 the contract's name
    save_path: str | os.PathLike[str], source: ExportSource
) -> MnnArtifact | MnnInt8Artifact:
    """As `open_mnn_int8`, or as `open_mnn` where the source holds grids of weights alone."""
    if isinstance(source.record, Record):
        return open_mnn_int8(save_path, source)
    return open_mnn(save_path, source)


def runtime(artifact: MnnArtifact | MnnInt8Artifact) -> MnnRuntime:
    """MNN's runtime, in a process of its own for each run."""
    first = {node.name for node in artifact.source.model.node if is_nchw(node)}
    if isinstance(artifact, MnnInt8Artifact):
        members = Counter(layer.simulated.result for layer in artifact.planned)
        layers = [
            RuntimeLayer(
                layer.simulated.name,
                layer.simulated.node,
                layer.result,
                artifact.reason(layer.simulated.name),
                layer.finished
                or (layer.simulated.result if members[layer.simulated.result] > 1 else None),
                layer.op_type,
                channels_first=layer.simulated.name in first,
            )
            for layer in artifact.planned
        ]
    else:
        names = dict.fromkeys(layer.name for layer in artifact.layers)
        layers = [RuntimeLayer(name, name, name, channels_first=name in first) for name in names]
    others = layers_in_loops(artifact.source.model, artifact.source.outputs)
    return MnnRuntime(artifact.model_path, artifact.frozen_path, layers, others)

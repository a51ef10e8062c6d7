"""What the target "onnx" does, for `graphquant_export.targets.target`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import numpy.typing as npt
import tensorflow as tf

from graphquant_core.record import Record
from graphquant_core.weight_record import Factors
from graphquant_export.targets.onnx.artifact import OnnxArtifact
from graphquant_export.targets.onnx.export import DEFAULT_OPSET, export_onnx, open_onnx
from graphquant_export.targets.onnx.runtime import OnnxRuntime
from graphquant_export.targets.onnx.weights import export_onnx_weights

open = open_onnx  # noqa: A001 the contract's name
runtime = OnnxRuntime


def export(
    model: tf.compat.v1.GraphDef,
    outputs: Sequence[str],
    record: Factors,
    save_path: str | os.PathLike[str],
    *,
    calibration: Mapping[str, npt.ArrayLike] | None = None,
    opset: int | None = None,
    activations: str = "int8",
) -> OnnxArtifact:
    """As `export_onnx`; as `export_onnx_weights` when `record` holds grids of weights alone."""
    if not isinstance(record, Record):
        return export_onnx_weights(model, outputs, record, save_path, opset=opset)
    return export_onnx(
        model,
        outputs,
        record,
        save_path,
        calibration=calibration,
        opset=DEFAULT_OPSET if opset is None else opset,
        activations=activations,
    )

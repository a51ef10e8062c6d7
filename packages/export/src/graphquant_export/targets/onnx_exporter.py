"""The export target "onnx". Importing it is cheap: TensorFlow comes in with the first export."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from graphquant_export.targets.save_path import ENDINGS

if TYPE_CHECKING:
    import numpy.typing as npt
    import tensorflow as tf

    from graphquant_core.exporter import ExportSource
    from graphquant_core.target_rules import TargetRules
    from graphquant_export.targets.onnx.artifact import OnnxArtifact
    from graphquant_export.targets.onnx.runtime import OnnxRuntime


class OnnxExporter:
    """``<save_path>.onnx`` for ONNX Runtime and every other runtime that knows QDQ models."""

    name = "onnx"
    endings = ENDINGS["onnx"]

    @property
    def rules(self) -> TargetRules:
        """What it rounds."""
        from graphquant_export.targets.rules import ONNX

        return ONNX

    def export(
        self,
        model: tf.compat.v1.GraphDef,
        outputs: Sequence[str],
        record: Any,
        save_path: str | os.PathLike[str],
        *,
        calibration: Mapping[str, npt.ArrayLike] | None = None,
        opset: int | None = None,
        activations: str = "int8",
    ) -> OnnxArtifact:
        """As `export_onnx`; as `export_onnx_weights` when `record` holds LayerParams."""
        from graphquant_core.record import Record
        from graphquant_export.targets.onnx.export import DEFAULT_OPSET, export_onnx
        from graphquant_export.targets.onnx.weights import export_onnx_weights

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

    def runtime(self, artifact: OnnxArtifact) -> OnnxRuntime:
        """As `graphquant_export.targets.onnx.runtime.OnnxRuntime`."""
        from graphquant_export.targets.onnx.runtime import OnnxRuntime

        return OnnxRuntime(artifact)

    def open(self, save_path: str | os.PathLike[str], source: ExportSource) -> OnnxArtifact:
        """As `graphquant_export.targets.onnx.export.open_onnx`."""
        from graphquant_export.targets.onnx.export import open_onnx

        return open_onnx(save_path, source)

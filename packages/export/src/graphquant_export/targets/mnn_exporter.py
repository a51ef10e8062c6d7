"""The export target "mnn". Importing it is cheap: TensorFlow comes in with the first export."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from graphquant_export.targets.save_path import ENDINGS

if TYPE_CHECKING:
    import numpy.typing as npt
    import tensorflow as tf

    from graphquant_core.exporter import ExportSource
    from graphquant_core.target_rules import TargetRules
    from graphquant_export.targets.mnn.export import MnnArtifact
    from graphquant_export.targets.mnn.int8.artifact import MnnInt8Artifact
    from graphquant_export.targets.mnn.mnn_runtime import MnnRuntime


class MnnExporter:
    """``<save_path>.mnn``, and what it was converted from.

    A record makes an int8 model. LayerParams make one with quantised weights that computes with
    floats.
    """

    name = "mnn"
    endings = ENDINGS["mnn"]

    @property
    def rules(self) -> TargetRules:
        """What it rounds."""
        from graphquant_export.targets.rules import MNN

        return MNN

    def export(
        self,
        model: tf.compat.v1.GraphDef,
        outputs: Sequence[str],
        record: Any,
        save_path: str | os.PathLike[str],
        *,
        calibration: Mapping[str, npt.ArrayLike] | None = None,
    ) -> MnnArtifact | MnnInt8Artifact:
        """As `export_mnn_int8`, or as `export_mnn` where `record` holds LayerParams."""
        from graphquant_core.record import Record

        if isinstance(record, Record):
            from graphquant_export.targets.mnn.int8.export_int8 import export_mnn_int8

            return export_mnn_int8(model, outputs, record, save_path, calibration)
        from graphquant_export.targets.mnn.export import export_mnn

        return export_mnn(model, outputs, record, save_path)

    def runtime(self, artifact: MnnArtifact | MnnInt8Artifact) -> MnnRuntime:
        """MNN's runtime, in a process of its own for each run."""
        from graphquant_export.targets.mnn.int8.artifact import MnnInt8Artifact
        from graphquant_export.targets.mnn.layer_results import RuntimeLayer
        from graphquant_export.targets.mnn.mnn_runtime import MnnRuntime

        if isinstance(artifact, MnnInt8Artifact):
            members = Counter(layer.simulated.result for layer in artifact.planned)
            layers = [
                RuntimeLayer(
                    layer.simulated.name,
                    layer.simulated.node,
                    layer.result,
                    artifact.reason(layer.simulated.name),
                    layer.simulated.result if members[layer.simulated.result] > 1 else None,
                )
                for layer in artifact.planned
            ]
        else:
            names = dict.fromkeys(layer.name for layer in artifact.layers)
            layers = [RuntimeLayer(name, name, name) for name in names]
        return MnnRuntime(artifact.model_path, artifact.frozen_path, layers)

    def open(
        self, save_path: str | os.PathLike[str], source: ExportSource
    ) -> MnnArtifact | MnnInt8Artifact:
        """As `open_mnn_int8`, or as `open_mnn` where the source's record holds LayerParams."""
        from graphquant_core.record import Record

        if isinstance(source.record, Record):
            from graphquant_export.targets.mnn.int8.open_int8 import open_mnn_int8

            return open_mnn_int8(save_path, source)
        from graphquant_export.targets.mnn.export import open_mnn

        return open_mnn(save_path, source)
